"""The applications among the examples, and the API beside them, as they are imported or read: no server is asked."""

import ast
import importlib.util
import os
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import gristmill.api

APPLICATIONS = sorted((Path(__file__).parents[2] / "examples").glob("*/app.py"))
each_application = pytest.mark.parametrize("file", APPLICATIONS, ids=[file.parent.name for file in APPLICATIONS])


@each_application
def test_the_page_of_its_calls_needs_no_other_host(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "GRISTMILL_URL", "http://127.0.0.1:1")
    spec = importlib.util.spec_from_file_location(f"example_{file.parent.name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    client = TestClient(module.app)  # not entered: its lifespan would ask Gristmill
    page = client.get("/docs").text
    files = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert len(files) >= 2
    assert all(client.get(name).status_code == 200 for name in files), files


@pytest.mark.parametrize(
    "file",
    [*APPLICATIONS, Path(gristmill.api.__file__).with_name("__main__.py")],
    ids=[*(file.parent.name for file in APPLICATIONS), "api"],
)
def test_a_server_keeps_idle_connections_longer_than_clients_do(file: Path) -> None:
    calls = [call for call in ast.walk(ast.parse(file.read_text())) if isinstance(call, ast.Call)]
    [run] = [call for call in calls if ast.unparse(call.func) == "uvicorn.run"]
    # nginx keeps them for 60 seconds, httpx for 5: who closes first must be the one who sends.
    assert {one.arg: ast.unparse(one.value) for one in run.keywords}["timeout_keep_alive"] == "75"
