"""The text of an expression as a syntax tree in which everything is on the allow-list.

Nothing is ever compiled or evaluated by Python: its parser alone is used, and each node that it makes is looked at.
"""

import ast
import json

from gristmill.transforms.expression.tree import Refused

# The function that names a column whose name is a word of the grammar: column('from').
COLUMN = "column"
MAX_CHARACTERS = 4_000
MAX_NODES = 500
MAX_DEPTH = 40
BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"}
COMPARISONS = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip
_NODES = (
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Name, ast.Constant, ast.Tuple, ast.List,
)  # fmt: skip
_PARTS = (*BINARY, *COMPARISONS, ast.And, ast.Or, ast.Not, ast.USub, ast.UAdd, ast.Load)
_CONSTANTS = (bool, int, float, str, type(None))


def parse(text: str) -> ast.expr:
    """Return the tree. Raises Refused for what is no expression, too long, too deep, or not allowed."""
    if len(text) > MAX_CHARACTERS:
        raise Refused("too_long", f"the expression has {len(text)} characters: at most {MAX_CHARACTERS} are possible")
    if not text.strip():
        raise Refused("missing", "the expression is empty")
    try:
        # Without the blanks around it, so that one in several lines or with a blank before it is no syntax error.
        tree = ast.parse(f"({text}\n)", mode="eval").body
    except SyntaxError as error:
        place = max(0, (error.offset or 2) - 2) if error.lineno == 1 else None
        raise Refused("syntax", f"it is no expression: {error.msg}", place) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise Refused("syntax", f"it is no expression: {str(error) or 'it nests too deep'}") from error
    if tree.lineno == 1 and tree.col_offset == 0 and not isinstance(tree, ast.Tuple):
        # A bracket of the text has closed the one that was put around it.
        raise Refused("syntax", "it is no expression: a bracket is closed that is not open")
    _check(tree, text)
    return tree


def segment(node: ast.AST, text: str) -> str:
    """Return what stands in ``text`` for a node, shortened."""
    found = ast.get_source_segment(f"({text}\n)", node) or ""
    return found if len(found) <= 60 else found[:57] + "…"


def place_of(node: ast.AST, text: str) -> int | None:
    """Return the character at which a node begins, from 0; None beyond the first line."""
    if getattr(node, "lineno", 2) != 1:
        return None
    # Offsets of nodes count bytes, and the bracket before the text.
    return len(f"({text}".encode("utf-8", "surrogatepass")[: node.col_offset].decode("utf-8", "replace")) - 1  # type: ignore[attr-defined]


def names_in(text: str) -> frozenset[str]:
    """Return the columns that an expression names; none if it is no expression."""
    try:
        tree = parse(text)
    except Refused:
        return frozenset()
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {id(node.func) for node in calls}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}
    return frozenset(names | {name for node in calls if (name := column_named(node)) is not None})


def column_named(call: ast.Call) -> str | None:
    """Return the column that a call of ``column`` names, None for other calls and for no text."""
    if isinstance(call.func, ast.Name) and call.func.id == COLUMN and len(call.args) == 1:
        argument = call.args[0]
        return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else None
    return None


def _check(tree: ast.expr, text: str) -> None:
    pending: list[tuple[ast.AST, int]] = [(tree, 1)]
    nodes = 0
    while pending:
        node, depth = pending.pop()
        if isinstance(node, _PARTS):
            continue
        nodes += 1
        if nodes > MAX_NODES:
            raise Refused("too_long", f"the expression has more than {MAX_NODES} parts")
        if depth > MAX_DEPTH:
            raise Refused("too_deep", f"the expression nests deeper than {MAX_DEPTH} levels", place_of(node, text))
        _check_node(node, text)
        pending.extend((child, depth + 1) for child in ast.iter_child_nodes(node))


def _check_node(node: ast.AST, text: str) -> None:
    shown, place = json.dumps(segment(node, text), ensure_ascii=False), place_of(node, text)
    if not isinstance(node, _NODES):
        what = type(node).__name__
        if isinstance(node, ast.operator | ast.unaryop | ast.cmpop | ast.boolop):
            raise Refused("not_allowed", f"the operator {what} is not part of expressions")
        hint = ": a member of a json field is json_text(field, 'path')" if isinstance(node, ast.Attribute) else ""
        raise Refused("not_allowed", f"{shown} ({what}) is not part of expressions{hint}", place)
    if isinstance(node, ast.Constant) and (not isinstance(node.value, _CONSTANTS) or node.kind is not None):
        raise Refused("not_allowed", f"{shown} is no constant of expressions: numbers, texts, True, False, None", place)
    if isinstance(node, ast.Name) and segment(node, text) != node.id:
        # Python takes look-alikes of ASCII letters for the letters.
        raise Refused("not_allowed", f"{shown} is no name: names have the letters a to z, digits and _", place)
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name):
            raise Refused("not_allowed", f"{shown}: only functions can be called, by their names", place)
        if node.keywords:
            raise Refused("not_allowed", f"{shown}: arguments have no names", place)
