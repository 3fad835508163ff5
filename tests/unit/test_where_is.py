""" "Where is …?" at the end of docs/architecture.md leads somewhere: every file is there, and has what is named."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "gristmill"
PAGE = ROOT / "docs" / "architecture.md"
HEADING = "## Where is …?"
_CODE = re.compile(r"`([^`]+)`")
ENTRIES = 35  # Some forty are wanted.


def entries() -> list[tuple[str, str, str]]:
    """Return (what, file, name or "") of each row."""
    text = PAGE.read_text(encoding="utf-8")
    assert HEADING in text, f"docs/architecture.md has no heading {HEADING!r}"
    section = text.split(HEADING, 1)[1].split("\n## ")[0]
    rows = [line.strip().strip("|").split("|") for line in section.splitlines() if line.strip().startswith("|")]
    found = []
    for what, file, name in ([cell.strip() for cell in row] for row in rows if len(row) == 3):
        if file.strip("- :") and file.lower() != "file":
            paths, names = _CODE.findall(file), _CODE.findall(name)
            assert len(paths) == 1, f"{what}: one file in backticks, not {file!r}"
            assert len(names) <= 1, f"{what}: at most one name in backticks, not {name!r}"
            found.append((what, paths[0], names[0] if names else ""))
    return found


def names_in(path: Path) -> set[str]:
    """Return what a module defines: classes, functions, ``Class.method``, constants, fields."""
    if path.suffix != ".py":
        return set(re.findall(r"[\w.-]+", path.read_text(encoding="utf-8")))
    found: set[str] = set()

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.update((node.name, prefix + node.name))
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        found.update((name.id, prefix + name.id))

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


def test_the_table_has_some_forty_entries_and_asks_nothing_twice() -> None:
    asked = [what for what, _, _ in entries()]
    assert len(asked) >= ENTRIES
    assert len(set(asked)) == len(asked)


def test_every_file_exists() -> None:
    assert [file for _, file, _ in entries() if not (SRC / file).exists()] == []


def test_every_name_is_defined_in_its_file() -> None:
    missing = [
        f"{file}: {name}"
        for _, file, name in entries()
        if name and (SRC / file).is_file() and name.strip("()") not in names_in(SRC / file)
    ]
    assert missing == []


def test_a_name_is_looked_for_in_a_file() -> None:
    assert all((SRC / file).is_file() for _, file, name in entries() if name)
