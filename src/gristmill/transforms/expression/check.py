"""A syntax tree as a typed tree: each name is a column, each operator and call fits the types of what it gets."""

import ast
import difflib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from gristmill.core.errors import Violation
from gristmill.transforms.expression import logic
from gristmill.transforms.expression.arithmetic import negate, operation, result_type, run_binary
from gristmill.transforms.expression.compare import COMPARES_NUMBERS, comparison
from gristmill.transforms.expression.functions import COALESCE, FUNCTIONS
from gristmill.transforms.expression.functions.spec import Function
from gristmill.transforms.expression.literals import become, literal, make
from gristmill.transforms.expression.parse import BINARY, COLUMN, COMPARISONS, column_named, parse, place_of, segment
from gristmill.transforms.expression.tree import ARROW, NULL, Node, Refused, Rows
from gristmill.transforms.expression.unify import pair, unified, widened
from gristmill.transforms.spec import Columns, StepRefused, Types

MAX_CHOICES = 200


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
        left, right = pair(self.node(tree.left), self.node(tree.right), self._types)
        type_ = result_type(operator, left.type, right.type)
        if type_ is None:
            hint = (
                "; div(a, b, scale) divides decimals"
                if operator == "/" and "decimal" in (left.type, right.type)
                else ""
            )
            raise _misfit(operator, left, right, hint)
        if "decimal" in (left.type, right.type):
            left, right = widened(left, "decimal", self._types), widened(right, "decimal", self._types)
        run = run_binary(operation(operator, left.type, right.type), left, right)
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
        """All sides are computed, each once: those of a chain belong to two comparisons."""
        source, operators = self._shown(tree), [COMPARISONS[type(operator)] for operator in tree.ops]
        if len(operators) == 1 and operators[0] in ("in", "not in"):
            return self._membership(operators[0], self.node(tree.left), tree.comparators[0], source)
        sides = [self.node(side) for side in (tree.left, *tree.comparators)]
        if len(operators) == 1 and operators[0] in ("is", "is not"):
            if sides[1].type != NULL:
                raise Refused("not_allowed", f"{source}: is compares with None alone; use == for values")
            return _joined("boolean", logic.run_is_null(sides[0].run, operators[0] == "is"), sides, source)
        compares = [
            self._comparison(operator, left, right, source)
            for operator, left, right in zip(operators, sides, sides[1:], strict=False)
        ]

        def run(rows: Rows) -> Any:
            values = [None if side.constant else side.run(rows) for side in sides]
            found = zip(compares, pairwise(values), strict=True)
            return logic.all_of([compare(left, right, rows) for compare, (left, right) in found])

        return _joined("boolean", run, sides, source)

    def _comparison(self, operator: str, left: Node, right: Node, source: str) -> Callable[[Any, Any, Rows], Any]:
        """Return what compares the values of two sides, None being given for constants. Raises Refused."""
        if operator in ("is", "is not", "in", "not in"):
            raise Refused("not_allowed", f"{source}: {operator} is no part of a chain of comparisons")
        if NULL in (left.type, right.type):
            raise Refused("wrong_type", f"{source}: a comparison with None is unknown; write `is None`")
        one, other = pair(left, right, self._types, exact=True)
        compare = comparison(operator, one.type, other.type)
        if compare is None:
            raise _misfit(operator, one, other)
        if other.constant and other.value is not None and not one.constant and compare in COMPARES_NUMBERS:
            number = pa.scalar(other.value, ARROW[other.type])
            return lambda a, b, rows: compare(a, number)
        return lambda a, b, rows: compare(one.run(rows) if a is None else a, other.run(rows) if b is None else b)

    def _membership(self, operator: str, left: Node, tree: ast.expr, source: str) -> Node:
        if not isinstance(tree, ast.Tuple | ast.List):
            reason = f"{source}: a list of values stands on the right of in; contains(text, part) looks into texts"
            raise Refused("wrong_type", reason)
        if len(tree.elts) > MAX_CHOICES:
            raise Refused("too_long", f"a list has at most {MAX_CHOICES} values; the step map takes more")
        choices = [self.node(element) for element in tree.elts]
        if any(choice.type == NULL for choice in choices):
            raise Refused("wrong_type", f"{source}: None in a list is never found; write `is None`")
        compares = [self._comparison("==", left, choice, source) for choice in choices]

        def run(rows: Rows) -> Any:
            value = None if left.constant else left.run(rows)
            values = [None if choice.constant else choice.run(rows) for choice in choices]
            pairs = zip(compares, values, strict=True)
            found = logic.any_of([compare(value, one, rows) for compare, one in pairs], rows)
            return found if operator == "in" else logic.run_not(found)

        return _joined("boolean", run, (left, *choices), source)

    def _ifexp(self, tree: ast.IfExp) -> Node:
        condition, then, otherwise = self.node(tree.test), self.node(tree.body), self.node(tree.orelse)
        self._need_boolean(condition)
        type_, (then, otherwise) = unified([then, otherwise], self._shown(tree), self._types)
        run = logic.run_if(_as_boolean(condition), then.run, otherwise.run, type_)
        return _joined(type_, run, (condition, then, otherwise), self._shown(tree))

    def _call(self, tree: ast.Call) -> Node:
        assert isinstance(tree.func, ast.Name)  # parse has seen to it
        name = tree.func.id
        if name == COLUMN:
            return self._name(ast.Name(column_named(tree) or "?"))
        arguments = [self.node(argument) for argument in tree.args]
        if name == COALESCE:
            if not arguments:
                raise Refused(
                    "wrong_arguments", "coalesce takes one value or more: the first that is not null is taken"
                )
            type_, parts = unified(arguments, self._shown(tree), self._types)
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
        unread: Refused | None = None
        for type_ in taken:
            try:
                fitting = widened(become(node, type_, self._types) if "text" not in taken else node, type_, self._types)
            except Refused as error:
                unread = error
                continue
            if fitting.type == type_:
                return fitting
        if unread is not None:
            raise unread
        reason = f"{function.name}: {name} is {node.source}, of type {node.type}: it takes {', '.join(taken)}"
        raise Refused("wrong_type", reason)

    def _need_boolean(self, node: Node) -> None:
        if node.type not in ("boolean", NULL):
            reason = f"{node.source} is of type {node.type}: a condition is boolean, such as {node.source} is not None"
            raise Refused("wrong_type", reason)


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
