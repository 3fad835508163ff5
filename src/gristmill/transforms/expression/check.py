"""A syntax tree as a typed tree: each name is a column, each operator and call fits the types of what it gets."""

import ast
import difflib
from collections.abc import Callable, Sequence
from typing import Any

from gristmill.core.errors import Violation
from gristmill.transforms.expression import logic
from gristmill.transforms.expression.arithmetic import negate, operation, result_type, run_binary
from gristmill.transforms.expression.compare import comparison
from gristmill.transforms.expression.functions import COALESCE, FUNCTIONS
from gristmill.transforms.expression.functions.spec import Function
from gristmill.transforms.expression.literals import WRITTEN, become, literal, make
from gristmill.transforms.expression.parse import BINARY, COMPARISONS, parse, place_of, segment
from gristmill.transforms.expression.tree import ARROW, NULL, Node, Refused, Rows
from gristmill.transforms.spec import Columns, StepRefused, Types

MAX_CHOICES = 200
_WIDER = {("integer", "float"): "float", ("integer", "decimal"): "decimal"}


def compile_expression(text: str, columns: Columns, types: Types, pointer: str) -> Node:
    """Return the typed tree of an expression over ``columns``. Raises StepRefused with the place of what is wrong."""
    try:
        return _Checker(text, columns, types).node(parse(text))
    except Refused as error:
        where = "" if error.place is None else f" (at character {error.place + 1})"
        raise StepRefused(Violation(pointer, error.code, f"{error.reason}{where}", field="expression")) from error


class _Checker:
    def __init__(self, text: str, columns: Columns, types: Types) -> None:
        self._text = text
        self._columns = columns
        self._types = types

    def node(self, tree: ast.expr) -> Node:
        make_node: Callable[[Any], Node] = getattr(self, f"_{type(tree).__name__.lower()}", self._unexpected)
        try:
            return make_node(tree)
        except Refused as error:
            if error.place is None:
                error.place = place_of(tree, self._text)
            raise

    def _shown(self, tree: ast.AST) -> str:
        return segment(tree, self._text)

    def _unexpected(self, tree: ast.expr) -> Node:
        raise Refused("not_allowed", f"{self._shown(tree)} has no meaning here: a list stands on the right of in")

    def _constant(self, tree: ast.Constant) -> Node:
        return literal(tree, self._shown(tree))

    def _name(self, tree: ast.Name) -> Node:
        column = self._columns.get(tree.id)
        if column is None:
            hint = " (it is a function: call it)" if tree.id in FUNCTIONS else _similar(tree.id, self._columns)
            there = ", ".join(self._columns) or "none"
            reason = f"there is no column {tree.id[:60]}{hint}; the columns are: {there[:400]}"
            raise Refused("unknown_column", reason)
        if column.type not in ARROW:
            raise Refused("wrong_type", f"{tree.id} is of type {column.type}, with which expressions cannot compute")
        name = tree.id
        return Node(column.type, lambda rows: rows.arrays[name], frozenset({name}), name)

    def _binop(self, tree: ast.BinOp) -> Node:
        operator = BINARY[type(tree.op)]
        left, right = self._pair(self.node(tree.left), self.node(tree.right))
        type_ = result_type(operator, left.type, right.type)
        if type_ is None:
            hint = (
                "; div(a, b, scale) divides decimals"
                if operator == "/" and "decimal" in (left.type, right.type)
                else ""
            )
            raise _misfit(operator, left, right, hint)
        if "decimal" in (left.type, right.type):
            left, right = self._wide(left, "decimal"), self._wide(right, "decimal")
        run = run_binary(operation(operator, left.type, right.type), left.run, right.run)
        return _joined(type_, run, (left, right), self._shown(tree))

    def _unaryop(self, tree: ast.UnaryOp) -> Node:
        if isinstance(tree.op, ast.USub) and _is_number(tree.operand):
            # One literal, so that it may become a decimal, and the smallest integer can be written.
            return literal(ast.Constant(-tree.operand.value), f"-{self._shown(tree.operand)}")  # type: ignore[attr-defined]
        inner = self.node(tree.operand)
        if isinstance(tree.op, ast.Not):
            self._need_boolean(inner)
            run = _as_boolean(inner)
            return _joined("boolean", lambda rows: logic.run_not(run(rows)), (inner,), self._shown(tree))
        change = negate(inner.type)
        if change is None:
            raise Refused("wrong_type", f"{inner.source} is of type {inner.type}, which has no sign")
        if isinstance(tree.op, ast.UAdd):
            return inner
        return _joined(inner.type, lambda rows: change(inner.run(rows)), (inner,), self._shown(tree))

    def _boolop(self, tree: ast.BoolOp) -> Node:
        parts = [self.node(part) for part in tree.values]
        for part in parts:
            self._need_boolean(part)
        joined = logic.run_and if isinstance(tree.op, ast.And) else logic.run_or
        return _joined("boolean", joined([_as_boolean(part) for part in parts]), parts, self._shown(tree))

    def _compare(self, tree: ast.Compare) -> Node:
        sides = [tree.left, *tree.comparators]
        parts = [
            self._one_comparison(COMPARISONS[type(operator)], left, right)
            for operator, left, right in zip(tree.ops, sides, sides[1:], strict=False)
        ]
        if len(parts) == 1:
            return parts[0]
        return _joined("boolean", logic.run_and([part.run for part in parts]), parts, self._shown(tree))

    def _one_comparison(self, operator: str, left_tree: ast.expr, right_tree: ast.expr) -> Node:
        source = f"{self._shown(left_tree)} {operator} {self._shown(right_tree)}"
        left = self.node(left_tree)
        if operator in ("is", "is not"):
            if not (isinstance(right_tree, ast.Constant) and right_tree.value is None):
                raise Refused("not_allowed", f"{source}: is compares with None alone; use == for values")
            return _joined("boolean", logic.run_is_null(left.run, operator == "is"), (left,), source)
        if operator in ("in", "not in"):
            return self._membership(operator, left, right_tree, source)
        right = self.node(right_tree)
        if NULL in (left.type, right.type):
            raise Refused("wrong_type", f"{source}: a comparison with None is unknown; write `is None`")
        left, right = self._pair(left, right)
        compare = comparison(operator, left.type, right.type)
        if compare is None:
            raise _misfit(operator, left, right)
        return _joined("boolean", run_binary(compare, left.run, right.run), (left, right), source)

    def _membership(self, operator: str, left: Node, tree: ast.expr, source: str) -> Node:
        if not isinstance(tree, ast.Tuple | ast.List):
            raise Refused(
                "wrong_type",
                f"{source}: a list of values stands on the right of in; contains(text, part) looks into texts",
            )
        if len(tree.elts) > MAX_CHOICES:
            raise Refused("too_long", f"a list has at most {MAX_CHOICES} values; the step map takes more")
        parts = []
        for element in tree.elts:
            choice = self.node(element)
            if choice.type == NULL:
                raise Refused("wrong_type", f"{source}: None in a list is never found; write `is None`")
            one, other = self._pair(left, choice)
            compare = comparison("==", one.type, other.type)
            if compare is None:
                raise _misfit("==", one, other)
            parts.append(_joined("boolean", run_binary(compare, one.run, other.run), (one, other), source))
        found = _joined("boolean", logic.run_or([part.run for part in parts]), parts, source)
        if operator == "in":
            return found
        return _joined("boolean", lambda rows: logic.run_not(found.run(rows)), (found,), source)

    def _ifexp(self, tree: ast.IfExp) -> Node:
        condition, then, otherwise = self.node(tree.test), self.node(tree.body), self.node(tree.orelse)
        self._need_boolean(condition)
        type_, (then, otherwise) = self._unified([then, otherwise], self._shown(tree))
        run = logic.run_if(_as_boolean(condition), then.run, otherwise.run, type_)
        return _joined(type_, run, (condition, then, otherwise), self._shown(tree))

    def _call(self, tree: ast.Call) -> Node:
        assert isinstance(tree.func, ast.Name)  # parse has seen to it
        name = tree.func.id
        arguments = [self.node(argument) for argument in tree.args]
        if name == COALESCE:
            if not arguments:
                raise Refused(
                    "wrong_arguments", "coalesce takes one value or more: the first that is not null is taken"
                )
            type_, parts = self._unified(arguments, self._shown(tree))
            return _joined(type_, logic.run_coalesce([part.run for part in parts], type_), parts, self._shown(tree))
        function = FUNCTIONS.get(name)
        if function is None:
            known = sorted([*FUNCTIONS, COALESCE])
            reason = f"there is no function {name[:60]}{_similar(name, known)}; there are: {', '.join(known)}"
            raise Refused("unknown_function", reason)
        return self._applied(function, arguments, self._shown(tree))

    def _applied(self, function: Function, arguments: list[Node], source: str) -> Node:
        needed = [one for one in function.parameters if one.default is None]
        if not len(needed) <= len(arguments) <= len(function.parameters):
            count = f"{len(needed)} to {len(function.parameters)}"
            reason = f"{source}: {function.signature} takes {count} arguments"
            raise Refused("wrong_arguments", reason)
        constants: dict[str, Any] = {}
        columns: list[Node] = []
        types: list[str] = []
        for number, parameter in enumerate(function.parameters):
            node = arguments[number] if number < len(arguments) else make(parameter.default, parameter.types[0], "")
            node = self._argument(function, parameter.name, node, parameter.types)
            types.append(node.type)
            if not parameter.constant:
                columns.append(node)
                continue
            if not node.constant or node.value is None:
                raise Refused(
                    "wrong_arguments", f"{function.name}: {parameter.name} has to be written out, the same for all rows"
                )
            wrong = parameter.check(node.value)
            if wrong is not None:
                raise Refused("bad_value", f"{function.name}: {parameter.name}: {wrong}")
            constants[parameter.name] = node.value
        apply = function.make(types, constants, self._types)

        def run(rows: Rows) -> Any:
            return apply(*(column.run(rows) for column in columns))

        return _joined(function.result(types), run, columns, source)

    def _argument(self, function: Function, name: str, node: Node, taken: Sequence[str]) -> Node:
        if node.type == NULL:
            return make(None, taken[0], node.source)
        if node.type in taken:
            return node
        for type_ in taken:
            fitting = self._wide(become(node, type_, self._types) if "text" not in taken else node, type_)
            if fitting.type == type_:
                return fitting
        reason = f"{function.name}: {name} is {node.source}, of type {node.type}: it takes {', '.join(taken)}"
        raise Refused("wrong_type", reason)

    def _need_boolean(self, node: Node) -> None:
        if node.type not in ("boolean", NULL):
            reason = f"{node.source} is of type {node.type}: a condition is boolean, such as {node.source} is not None"
            raise Refused("wrong_type", reason)

    def _pair(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Return two operands, constants among them as what they are beside the other."""
        if left.type == NULL and right.type != NULL:
            left = make(None, right.type, left.source)
        if right.type == NULL and left.type != NULL:
            right = make(None, left.type, right.source)
        if right.type in WRITTEN or right.type == "float":
            left = become(left, right.type, self._types)
        if left.type in WRITTEN or left.type == "float":
            right = become(right, left.type, self._types)
        return left, right

    def _wide(self, node: Node, type_: str) -> Node:
        """Return an integer as a number of a wider type; other nodes as they are."""
        if _WIDER.get((node.type, type_)) != type_:
            return node
        if node.constant and node.value is not None:
            return become(node, type_, self._types)
        arrow = ARROW[type_]
        return Node(type_, lambda rows: node.run(rows).cast(arrow, safe=False), node.columns, node.source)

    def _unified(self, nodes: list[Node], source: str) -> tuple[str, list[Node]]:
        """Return the one type that all have, or become, and the nodes of it."""
        known = [node.type for node in nodes if node.type != NULL]
        type_ = known[0] if known else NULL
        for other in known:
            if other != type_:
                type_ = _WIDER.get((type_, other)) or _WIDER.get((other, type_)) or type_
        for other in known:
            # A text that is written out is a moment beside moments.
            type_ = other if type_ == "text" and other in WRITTEN else type_
        found = []
        for node in nodes:
            node = (
                make(None, type_, node.source)
                if node.type == NULL
                else self._wide(become(node, type_, self._types), type_)
            )
            if node.type != type_:
                reason = f"{source}: {node.source} is of type {node.type}, the others are of type {type_}"
                raise Refused("wrong_type", reason)
            found.append(node)
        return type_, found


def _joined(type_: str, run: Callable[[Rows], Any], parts: Sequence[Node], source: str) -> Node:
    return Node(type_, run, frozenset().union(*(part.columns for part in parts)), source)


def _as_boolean(node: Node) -> Callable[[Rows], Any]:
    return make(None, "boolean", node.source).run if node.type == NULL else node.run


def _is_number(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Constant) and type(tree.value) in (int, float)


def _misfit(operator: str, left: Node, right: Node, hint: str = "") -> Refused:
    reason = f"{left.source} {operator} {right.source}: {left.type} {operator} {right.type} has no meaning{hint}"
    return Refused("wrong_type", reason)


def _similar(name: str, known: Any) -> str:
    found = difflib.get_close_matches(name[:60], list(known), 1)
    return f": did you mean {found[0]}?" if found else ""
