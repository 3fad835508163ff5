"""The shape of the source: how long files are, what each is for, and that one place commits."""

import ast
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "gristmill"
FILES = {path.relative_to(SRC).as_posix(): path.read_text(encoding="utf-8") for path in sorted(SRC.rglob("*.py"))}
LINES = {name: text.count("\n") for name, text in FILES.items()}
LONGEST = 300
# Files that are longer, with the lines that they have: the list may only shrink, and so may they.
LONGER: dict[str, int] = {}

# The files that every domain has under the same name.
ROLES = {"__init__", "endpoints", "tasks", "service", "repository", "tables", "schemas", "errors"}


class TestSizes:
    def test_no_file_is_longer_than_300_lines(self) -> None:
        assert {name: lines for name, lines in LINES.items() if lines > LONGER.get(name, LONGEST)} == {}

    def test_the_exceptions_are_needed(self) -> None:
        assert {name for name in LONGER if LINES.get(name, 0) <= LONGEST} == set()

    def test_half_of_the_files_have_at_most_100_lines(self) -> None:
        assert median(lines for lines in LINES.values() if lines) <= 100


class TestResponsibilities:
    def test_every_file_with_code_says_what_it_is_for(self) -> None:
        silent = [name for name, text in FILES.items() if text.strip() and not ast.get_docstring(ast.parse(text))]
        assert silent == []

    def test_what_could_become_a_junk_drawer_names_its_files_in_a_line_each(self) -> None:
        for package in ("records", "jobs/maintenance", "datasets"):
            named = ast.get_docstring(ast.parse(FILES[f"{package}/__init__.py"])) or ""
            beside = {
                name.removeprefix(f"{package}/").split("/")[0].removesuffix(".py")
                for name in FILES
                if name.startswith(f"{package}/") and LINES[name]
            } - ROLES
            lines = {line.split(":")[0].strip() for line in named.splitlines()[1:] if ":" in line}
            assert lines == beside, f"{package}/__init__.py: missing {beside - lines}, gone {lines - beside}"


class TestTransactions:
    def test_one_place_commits(self) -> None:
        commits = {
            name
            for name, text in FILES.items()
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
        }
        assert commits == {"core/database.py"}

    def test_no_text_commits(self) -> None:
        """Nor does a statement, which would end the transaction that somebody else opened."""
        said = [
            f"{name}:{node.lineno}"
            for name, text in FILES.items()
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "COMMIT;" in node.value.upper()
        ]
        assert said == []
