"""Operands of one type: constants become what the others are, and integers numbers of a wider type."""

from gristmill.transforms.expression.literals import WRITTEN, become, make
from gristmill.transforms.expression.tree import ARROW, NULL, WIDER, Node, Refused
from gristmill.transforms.spec import Types


def pair(left: Node, right: Node, types: Types, exact: bool = False) -> tuple[Node, Node]:
    """Return two operands, constants among them as what they are beside the other.

    exact: integers beside floats stay what they are, if no float is the same number.
    """
    beside = (*WRITTEN, "float")
    if left.type == NULL and right.type != NULL:
        left = make(None, right.type, left.source)
    if right.type == NULL and left.type != NULL:
        right = make(None, left.type, right.source)
    if right.type in beside and not (exact and _is_large(left)):
        left = become(left, right.type, types)
    if left.type in beside and not (exact and _is_large(right)):
        right = become(right, left.type, types)
    return left, right


def _is_large(node: Node) -> bool:
    """Say whether a constant is an integer that may have no float which is the same number."""
    return node.type == "integer" and node.constant and node.value is not None and abs(node.value) > 2**53


def widened(node: Node, type_: str, types: Types) -> Node:
    """Return an integer as a number of a wider type; other nodes as they are."""
    if WIDER.get((node.type, type_)) != type_:
        return node
    if node.constant and node.value is not None:
        return become(node, type_, types)
    arrow = ARROW[type_]
    return Node(type_, lambda rows: node.run(rows).cast(arrow, safe=False), node.columns, node.source)


def unified(nodes: list[Node], source: str, types: Types) -> tuple[str, list[Node]]:
    """Return the one type that all have, or become, and the nodes of it."""
    known = [node.type for node in nodes if node.type != NULL]
    # What is written out becomes what the others are.
    first = [node.type for node in nodes if node.type != NULL and not node.constant]
    type_ = (first or known or [NULL])[0]
    for other in (*first, *known):
        type_ = WIDER.get((type_, other)) or WIDER.get((other, type_)) or type_
        if (type_ == "text" and other in WRITTEN and not first) or {type_, other} == {"float", "decimal"}:
            type_ = "decimal" if other == "float" else other
    found = []
    for node in nodes:
        node = (
            make(None, type_, node.source) if node.type == NULL else widened(become(node, type_, types), type_, types)
        )
        if node.type != type_:
            reason = f"{source}: {node.source} is of type {node.type}, the others are of type {type_}"
            raise Refused("wrong_type", reason)
        found.append(node)
    return type_, found
