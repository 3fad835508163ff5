"""What users can call and see is written down: a route or a state without its lines in the documentation fails here."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from gristmill import plugin
from gristmill.api.app import make_app
from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.shared import Gristmill
from gristmill.core.config import Settings
from gristmill.core.errors import GristmillError
from gristmill.jobs.states import (
    CHUNK_TRANSITIONS,
    FINISHED_JOB_STATES,
    JOB_TRANSITIONS,
    UNFINISHED_JOB_STATES,
    JobState,
)

LOCAL = ("gristmill.stack", "gristmill.cli")
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The application, connected to nothing."""
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:9/nothing")
    found: Any = make_app(ApiServices(Gristmill(settings, "test-documented")))
    # The middleware and the fast path are wrapped around it.
    while not isinstance(found, FastAPI):
        found = found._app
    return found


def routes(app: FastAPI) -> set[tuple[str, str]]:
    """(method, path) of every call in the OpenAPI document."""
    return {(method.upper(), path) for path, calls in app.openapi()["paths"].items() for method in calls}


class TestRest:
    def test_every_route_has_its_heading(self, app: FastAPI) -> None:
        text = (DOCS / "rest.md").read_text()
        headings = set(re.findall(r"^#+ `([A-Z]+) ([^`?]+)`", text, re.MULTILINE))
        documented = {(method, path) for method, path in headings}
        assert routes(app) - documented == set(), "routes without a heading in docs/rest.md"
        assert documented - routes(app) == set(), "headings in docs/rest.md without a route"

    def test_every_parameter_is_named_under_its_route_or_among_the_write_options(self, app: FastAPI) -> None:
        text = (DOCS / "rest.md").read_text()
        sections = dict(re.findall(r"^### `([A-Z]+ [^`]+)`$(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
        shared = text[text.index("## Write options") : text.index("## Datasets")].lower()
        for path, calls in app.openapi()["paths"].items():
            for method, call in calls.items():
                section = sections[f"{method.upper()} {path}"]
                named = section.lower() + (shared if "(#write-options)" in section else "")
                for parameter in call.get("parameters", []):
                    if parameter["in"] != "path":
                        for name in (parameter["name"], *parameter["schema"].get("properties", ())):
                            assert f"`{name.lower()}" in named, f"{name} of {method.upper()} {path}"

    def test_every_problem_code_is_listed(self) -> None:
        text = (DOCS / "rest.md").read_text()
        listed = {
            code: int(status) for code, status in re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", text, re.MULTILINE)
        }
        # What the command line and the stack on one machine complain of goes to a terminal, never over REST.
        classes = [cls for cls in _tree(GristmillError) if cls.__module__.startswith("gristmill.")]
        shown = {cls.code: cls.status for cls in classes if not cls.__module__.startswith(LOCAL)}
        assert shown.items() <= listed.items(), f"missing or wrong: {sorted(set(shown.items()) - set(listed.items()))}"


class TestPlugins:
    def test_every_name_that_plugins_may_import_is_explained(self) -> None:
        text = (DOCS / "job_types.md").read_text()
        assert [name for name in plugin.__all__ if not re.search(rf"\b{name}\b", text)] == []


class TestStates:
    def test_the_picture_of_jobs_is_the_code(self) -> None:
        first, second = _diagrams()
        starts, changes, ends = _edges(first)
        assert changes == {(str(a), str(b)) for a, targets in JOB_TRANSITIONS.items() for b in targets}
        assert starts == {JobState.SCHEDULED, JobState.QUEUED}
        assert ends == {str(state) for state, targets in JOB_TRANSITIONS.items() if not targets}
        assert ends <= set(FINISHED_JOB_STATES)
        assert set(JobState) == {*FINISHED_JOB_STATES, *UNFINISHED_JOB_STATES}
        starts, changes, ends = _edges(second)
        assert changes == {(str(a), str(b)) for a, targets in CHUNK_TRANSITIONS.items() for b in targets}
        assert starts == {"waiting"}
        assert ends == {str(state) for state, targets in CHUNK_TRANSITIONS.items() if not targets}


def _tree(cls: type[GristmillError]) -> list[type[GristmillError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _tree(child))]


def _diagrams() -> list[str]:
    found = re.findall(r"```mermaid\n(.*?)```", (DOCS / "job_states.md").read_text(), re.DOTALL)
    assert len(found) == 2
    return found


def _edges(diagram: str) -> tuple[set[str], set[tuple[str, str]], set[str]]:
    """(states to start in, changes, states to end in) of a Mermaid state diagram."""
    edges = re.findall(r"^\s*(\S+) --> ([a-z]+|\[\*\])", diagram, re.MULTILINE)
    starts = {target for source, target in edges if source == "[*]"}
    ends = {source for source, target in edges if target == "[*]"}
    return starts, {edge for edge in edges if "[*]" not in edge}, ends
