"""Constants of expressions, and what they become beside a value of another type."""

import ast
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from gristmill.transforms.expression.decimals import MAX_DIGITS, canonical
from gristmill.transforms.expression.tree import NULL, Node, NoValue, Refused, constant_array
from gristmill.transforms.spec import Column, StepRefused, Types

# Types whose values are written as texts.
WRITTEN = ("timestamp", "date", "duration", "uuid", "decimal")
_NAMES: dict[type, str] = {bool: "boolean", int: "integer", float: "float", str: "text", type(None): NULL}


def make(value: Any, type_: str, source: str) -> Node:
    """Return the node of a constant. value: as Arrow takes it for the type."""
    return Node(type_, partial(constant_array, value, type_), source=source, constant=True, value=value)


def literal(node: ast.Constant, source: str) -> Node:
    """Return the node of a constant of the grammar. Raises Refused for what no type holds."""
    value: Any = node.value
    name = _NAMES[type(value)]
    if name == "integer" and not -(2**63) <= value < 2**63:
        raise Refused("out_of_range", f"{source} is no integer of 64 bits: write decimal('…') for larger numbers")
    if name == "float" and not abs(value) < float("inf"):
        raise Refused("out_of_range", f"{source} is beyond the range of floats")
    if name == "text" and "\0" in value:
        raise Refused("bad_text", "a text holds a NUL character, which Postgres cannot store")
    if name == "text":
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Refused("bad_text", f"{ascii(value)[:60]} holds half of a surrogate pair") from error
    return make(value, name, source)


def become(node: Node, type_: str, types: Types) -> Node:
    """Return a constant as one of another type, where what is written is a value of it; else the node itself.

    A number beside decimals is the decimal that is written, and a text beside moments, durations and uuids is read as
    such. Raises Refused where the text is no value of the type.
    """
    if not node.constant or node.type == type_ or node.type == NULL:
        return node
    if type_ == "decimal" and node.type in ("integer", "float"):
        return make(_decimal(node.source), type_, node.source)
    if type_ == "float" and node.type == "integer":
        return make(float(node.value), type_, node.source)
    if node.type == "text" and type_ in WRITTEN:
        return make(read_text(node.value, type_, types), type_, node.source)
    return node


def read_text(text: str, type_: str, types: Types) -> Any:
    """Return the value of a type that a text is, as Arrow takes it. Raises Refused."""
    try:
        # No field has that name: it would be read as the field is.
        found = types.values(Column("_", type_, types.column("_", type_).arrow), [text], [""])[0]
        return found.value if type_ == "duration" else found.as_py()
    except StepRefused as error:
        reason = error.violations[0].reason.removeprefix("_: ")
        raise Refused("bad_value", reason) from error


def read_cell(text: str, type_: str, types: Types) -> Any:
    """Return the value of a type that a row's text is, blanks around it apart. Raises NoValue."""
    try:
        return read_text(text.strip(), type_, types)
    except Refused as error:
        raise NoValue("bad_value", error.reason) from error


def _decimal(source: str) -> str:
    """Return the number that is written, not the binary one nearest to it."""
    try:
        number = Decimal(source.replace("_", ""))
    except InvalidOperation as error:
        raise Refused("bad_value", f"{source} is no decimal number: write decimal('…')") from error
    found = canonical(number)
    if found is None:
        raise Refused("out_of_range", f"{source} has more than {MAX_DIGITS} digits")
    return found
