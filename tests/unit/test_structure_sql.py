"""Who runs SQL, and who may read whose tables: found by parsing every module, its SQL texts and its imports."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import sqlalchemy as sa

import gristmill.bootstrap.shared  # noqa: F401 - makes every domain declare its tables
from gristmill.core.database import SCHEMA, metadata
from gristmill.core.prepared import Prepared

SRC = Path(__file__).resolve().parents[2] / "src" / "gristmill"
MODULES = sorted(path.relative_to(SRC).as_posix() for path in SRC.rglob("*.py"))

# Made by migrations alone: the view of all scopes of jobs, and the function that says how a job ends.
MADE_BY_MIGRATIONS = {"scopes": "jobs", "end_state": "jobs"}

# Files where SQL runs though they are neither a repository nor the statements beside one. The list may only shrink.
RUNS_SQL = {
    "core/database.py": "the port itself: it opens transactions and sets their limits",
    "core/copy.py": "the port's COPY, which SQLAlchemy does not know",
    "core/prepared.py": "the port's prepared statements",
    "datasets/ddl.py": "the DDL of a contract: statements that are put together from its columns",
    "datasets/index_session.py": "CREATE INDEX CONCURRENTLY, over a connection of its own outside of transactions",
    "datasets/sizes.py": "one statement, read only, about the files of tables",
    "datasets/version_checks.py": "the guard of writes and searches, embedded in their statements",
    "jobs/notifications.py": "NOTIFY, over a connection of its own beside every transaction",
    "records/apply/upsert.py": "runs what statements.py beside it puts together from a contract",
    "records/export/scan.py": "puts together the query of a page, and asks where the page ends",
    "records/export/service.py": "copies the rows of a page, in one snapshot",
    "records/read/pages.py": "puts together the query of a page from a contract, and runs it",
    "search/query/rank.py": "runs what statements.py beside it puts together from a contract",
    "search/recall/learn.py": "runs what query/statements.py puts together, for records that it draws",
    "search/query/service.py": "reads the stored vector that others shall be like",
}

# Statements of one domain that are sent in one message with another's: the guard that a submit, or a search, embeds.
GUARDS = {
    "gristmill.datasets.version_checks": {"VISIBLE", "STILL_APPLIED"},
}

# A status of the stack is asked for before there is an engine: it must not import SQLAlchemy.
FOREIGN = {("stack/repository.py", "processes")}

_RUN = {"exec_driver_sql", "execute", "execute_values", "copy_expert", "executemany"}
_SQL = re.compile(r"\b(SELECT|INSERT\s+INTO|UPDATE|DELETE\s+FROM|FROM|JOIN|USING|COPY|TABLE|INDEX|nextval|setval)\b")
# Names of settings look alike, but stand in quotes.
_TABLE = re.compile(rf"(?<!set_config\(')(?<!current_setting\(')\b{SCHEMA}\.(\w+)")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((SRC / module).read_text(encoding="utf-8"))


def domain(module: str) -> str:
    return module.split("/")[0]


@cache
def owners() -> dict[str, str]:
    """Return by table, view, sequence and function of the schema the domain whose ``tables.py`` declares it."""
    found = dict(MADE_BY_MIGRATIONS)
    for module in MODULES:
        if module.endswith("/tables.py"):
            for node in ast.walk(tree(module)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sa.Table", "sa.Sequence"):
                    found[ast.literal_eval(node.args[0])] = domain(module)
    return found


def sql_texts(module: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every text with SQL in it, docstrings left out. What an f-string fills in is ``{}``."""
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    parts: set[int] = set()
    for node in ast.walk(tree(module)):
        text = None
        if isinstance(node, ast.JoinedStr):
            parts.update(id(part) for part in node.values)
            text = "".join(_filled(part) for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents | parts:
            text = node.value
        if text is not None and _SQL.search(text):
            yield node.lineno, text


def _filled(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = part.value if isinstance(part, ast.FormattedValue) else part
    # The schema's name is the one thing that is filled in before a table.
    return SCHEMA if isinstance(value, ast.Name) and value.id == "SCHEMA" else "{}"


def calls_that_run_sql(module: str) -> list[int]:
    """Return the lines of calls that send a statement to Postgres."""
    prepared = {
        alias.asname or alias.name
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and node.module == "gristmill.core.prepared"
        for alias in node.names
        if alias.name in ("execute", "fetch")
    }
    return [
        node.lineno
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr in _RUN)
            or (isinstance(node.func, ast.Name) and node.func.id in prepared)
        )
    ]


def _imports(module: str) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of everything that is imported from Gristmill by name."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gristmill."):
            for alias in node.names:
                yield str(node.module), alias.name


def _is_table_or_statement(source: str, name: str) -> bool:
    value = getattr(importlib.import_module(source), name, None)
    if isinstance(value, sa.Table | sa.Sequence):
        return True
    text = value.prepare if isinstance(value, Prepared) else value
    return isinstance(text, str) and bool(_TABLE.search(text) and _SQL.search(text))


def is_home_of_sql(module: str) -> bool:
    path = Path(module)
    return path.stem in ("repository", "statements", "sql") or "repository" in path.parts[:-1]


class TestWhereSqlRuns:
    def test_only_in_repositories_and_the_statements_beside_them(self) -> None:
        elsewhere = [module for module in MODULES if not is_home_of_sql(module) and module not in RUNS_SQL]
        running = {module: lines for module in elsewhere if (lines := calls_that_run_sql(module))}
        assert running == {}, "modules that run SQL in these lines: their repository should"

    def test_the_exceptions_are_needed(self) -> None:
        for module in RUNS_SQL:
            assert module in MODULES, f"{module} is gone: leave it out of the list"
            assert not is_home_of_sql(module), f"{module} needs no exception"
            assert calls_that_run_sql(module), f"{module} runs no SQL any more: leave it out of the list"

    def test_this_test_sees_what_runs_sql(self) -> None:
        for module in ("jobs/repository/claim.py", "access/repository.py", "core/copy.py"):
            assert calls_that_run_sql(module)


class TestWhoseTables:
    def test_every_table_has_one_owner(self) -> None:
        known = owners()
        assert {table.name for table in metadata.tables.values()} <= set(known)
        assert {known[name] for name in ("jobs", "chunks", "leases", "payloads", "scopes")} == {"jobs"}
        assert {known[name] for name in ("datasets", "dataset_versions")} == {"datasets"}
        assert {known[name] for name in ("rejects", "retention")} == {"records"}
        assert {known[name] for name in ("segments", "index_settings", "recall")} == {"search"}
        assert known["api_keys"] == "access"

    def test_sql_names_the_tables_of_its_own_domain_only(self) -> None:
        foreign = [
            f"{module}:{line} {name} of {owners().get(name, 'nobody')}/"
            for module in MODULES
            for line, text in sql_texts(module)
            for name in _TABLE.findall(text)
            if owners().get(name) != domain(module) and (module, name) not in FOREIGN
        ]
        assert foreign == [], "ask the repository of the owner"

    def test_no_module_takes_a_table_or_a_statement_of_another_domain(self) -> None:
        taken = [
            f"{module} takes {name} of {source}"
            for module in MODULES
            for source, name in _imports(module)
            if source.split(".")[1] not in (domain(module), "core", "kit")
            and name not in GUARDS.get(source, ())
            and not (module.endswith("/tables.py") and source.endswith(".tables"))  # for foreign keys
            and _is_table_or_statement(source, name)
        ]
        assert taken == [], "ask the repository of the owner"

    def test_the_guards_are_statements(self) -> None:
        for source, names in GUARDS.items():
            for name in names:
                assert _is_table_or_statement(source, name), f"{name} of {source} needs no exception"

    def test_the_exceptions_are_needed(self) -> None:
        for module, name in FOREIGN:
            assert any(name in _TABLE.findall(text) for _, text in sql_texts(module)), f"{module} reads no {name}"

    def test_this_test_sees_tables_in_texts(self) -> None:
        found = {name for _, text in sql_texts("jobs/repository/claim.py") for name in _TABLE.findall(text)}
        assert {"chunks", "leases", "jobs", "payloads"} <= found
