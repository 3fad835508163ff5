"""What is true of one field type stands in that type's file: nothing else asks for a type by its name."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import gristmill
from gristmill.datasets.contract import TypeName
from gristmill.datasets.types import TYPES

ROOT = Path(gristmill.__file__).parent
NAMES = frozenset(get_args(TypeName))
# Where a word that is also the name of a type is compared, matched or a key, and why that is no question about a type.
ALLOWED = {
    "search/query": ({"image", "text", "vector"}, "modes of a search and members of its body, what embedders read"),
    "search/repository": ({"vector"}, "how a vector is stored, which is called as its type is; parameters of SQL"),
    "embeddings": ({"text"}, "what embedders read"),
    "records/embedding.py": ({"image"}, "what embedders read"),
    "datasets/embedding_checks.py": ({"bits", "image"}, "what embedders read and make"),
    "datasets/embedders.py": ({"image"}, "what embedders read"),
    "images": ({"vector"}, "how a vector is stored, which is called as its type is"),
    "records/readers/zip.py": ({"image", "json"}, "which fields name members of an archive; names of files"),
    "client/_pandas_objects.py": (
        {"boolean", "date", "decimal", "duration", "float", "integer", "uuid"},
        "kinds of Python objects in columns of pandas, and the Arrow type of each",
    ),
    "client/_tables.py": (
        {"decimal"},
        "the client knows REST only: of which columns the scale follows from the values",
    ),
    "client": ({"json", "text", "vector"}, "formats of bodies, members of a search's body"),
    "cli/search.py": (
        {"integer", "boolean"},
        "the command line knows REST only: it must tell whether a key that was typed in is a JSON number or a text",
    ),
    "cli/load.py": ({"text"}, "the command line knows REST only: which filter it shows as an example"),
    "cli/pipeline.py": ({"json"}, "formats of files"),
    "cli/demo": ({"text"}, "members of a search's body"),
    "broker/task_events.py": ({"uuid"}, "the id of a task, as Celery's events call it"),
    "worker/request.py": ({"uuid"}, "the id of a task, as Celery's events call it"),
    "datasets/json_members.py": ({"text", "boolean"}, "types of values in JSON documents"),
    "datasets/where_members.py": ({"text", "boolean"}, "types of values in JSON documents"),
    "datasets/where_operands.py": ({"text", "boolean"}, "types of values in JSON documents"),
    "records/readers/__init__.py": ({"json"}, "what the names of files end with"),
    "records/readers/csv_hints.py": ({"integer"}, "which numbers cannot have decimals that a hint would be about"),
    "records/infer": (
        {"date", "decimal", "text", "timestamp", "uuid"},
        "what a column is proposed as, asked about and good for is decided by its type; parameters of CSV",
    ),
    "transforms/expression": (
        {"boolean", "date", "decimal", "duration", "float", "integer", "json", "text", "timestamp", "uuid"},
        "what an operator means follows from the types of its operands; a type that is not there is refused",
    ),
    "transforms/conversions.py": (
        {"boolean", "date", "decimal", "float", "integer", "timestamp"},
        "which expression makes a value of one type of one of another",
    ),
    "transforms/formats": ({"boolean", "timestamp"}, "what people write becomes the text that a type reads"),
    "transforms/steps/cast.py": (
        {"boolean", "date", "decimal", "text", "timestamp"},
        "which parameters say how the values of a type are written",
    ),
    "transforms/series/aggregates.py": (
        {"decimal", "float"},
        "how values are added follows from their type, as what an operator means does",
    ),
    "transforms/steps/filter.py": ({"boolean"}, "the type that an expression has that is a condition"),
    "records/aggregate": (
        {"boolean", "date", "decimal", "duration", "float", "integer", "json", "timestamp", "uuid"},
        "what a measure computes, and by which SQL, follows from the type, as what an operator means does",
    ),
    "api/openapi": ({"text"}, "the example of a search's body"),
}


def _names_in(node: ast.expr | None) -> Iterator[str]:
    """Yield the names of types among the constants that an expression is, or lists."""
    if isinstance(node, ast.Constant) and node.value in NAMES:
        yield str(node.value)
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        for item in node.elts:
            yield from _names_in(item)


def _asked(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name) wherever code depends on the name of a type."""
    for node in ast.walk(tree):
        found: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            found = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            found = [node.value]
        elif isinstance(node, ast.Dict):
            found = list(node.keys)
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "TYPES":
            found = [node.slice]
        for expression in found:
            for name in _names_in(expression):
                yield expression.lineno if expression else 0, name


def _exception(path: str, name: str) -> str | None:
    return next(
        (place for place, (names, _) in ALLOWED.items() if (path + "/").startswith(place + "/") and name in names), None
    )


def _found() -> list[tuple[str, int, str]]:
    files = [path for path in sorted(ROOT.rglob("*.py")) if "datasets/types" not in path.as_posix()]
    assert len(files) > 200
    return [
        (path.relative_to(ROOT).as_posix(), line, name)
        for path in files
        for line, name in _asked(ast.parse(path.read_text()))
    ]


class TestATypeInOneFile:
    def test_nothing_else_asks_for_a_type_by_its_name(self) -> None:
        assert [place for place in _found() if _exception(place[0], place[2]) is None] == []

    def test_each_exception_is_still_needed(self) -> None:
        used = {(_exception(path, name), name) for path, _, name in _found()}
        listed = {(place, name) for place, (names, _) in ALLOWED.items() for name in names}
        assert listed - used == set()

    @pytest.mark.parametrize(
        "code",
        [
            "field.type == 'date'",
            "kind in ('text', 'json')",
            "match kind:\n    case 'uuid': pass",
            "{'vector': 1}",
            "TYPES['image']",
        ],
    )
    def test_each_way_to_ask_is_noticed(self, code: str) -> None:
        assert list(_asked(ast.parse(code)))

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_a_type_is_the_file_of_its_name(self, name: str) -> None:
        kind = TYPES[name]
        assert kind.name == name
        assert type(kind).__module__ == f"gristmill.datasets.types.{name}"
