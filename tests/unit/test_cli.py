"""The command line against a server that answers from a table: what it sends, prints, and its exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from typer.testing import CliRunner, Result

from gristmill.cli import host, session
from gristmill.cli.main import app
from gristmill.client import Client, Retry

Run = Callable[..., Result]
JOB_ID = "01920000-0000-7000-8000-000000000001"


class Server:
    """Answers each call with the next of its route's answers; the last one stays. Keeps the requests."""

    def __init__(self) -> None:
        self.routes: dict[str, list[Any]] = {}
        self.requests: list[httpx.Request] = []
        self.urls: list[str] = []
        self.keys: list[str | None] = []

    def answer(self, call: str, *answers: Any) -> None:
        self.routes[call] = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answers = self.routes.get(f"{request.method} {request.url.raw_path.decode().partition('?')[0]}")
        if answers is None:
            raise httpx.ConnectError("refused")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def make_client(self, url: str, api_key: str | None, **_: Any) -> Client:
        self.urls.append(url)
        self.keys.append(api_key)
        return Client(url, api_key, retry=Retry(attempts=1), transport=httpx.MockTransport(self))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    server = Server()
    monkeypatch.setattr(session, "Client", server.make_client)
    for name in ("GRISTMILL_URL", "GRISTMILL_API_KEY", "GRISTMILL_STACK_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return server


@pytest.fixture
def run() -> Run:
    def call(*arguments: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=stdin, env=env)

    return call


def job(state: str = "queued", error: Any = None, total: int = 3) -> dict[str, Any]:
    done = state in ("succeeded", "failed", "cancelled")
    return {
        "id": JOB_ID,
        "type": "records.ingest",
        "dataset": "weather",
        "state": state,
        "done": done,
        "progress": 1.0 if done else 0.0,
        "record_counts": {"total": total, "succeeded": total if state == "succeeded" else 0, "superseded": 1},
        "chunks": {"total": 1},
        "error": error,
        "created_at": "2026-01-01T00:00:00Z",
    }


def problem(status: int, **extra: Any) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": "a_code", "detail": "The detail", **extra})


def documents(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


class TestSubmitFiles:
    def files(self, tmp_path: Path, *names: str) -> list[str]:
        for name in names:
            (tmp_path / name).write_bytes(name.encode())
        return list(names)

    def test_each_file_becomes_a_job(self, server: Server, run: Run, tmp_path: Path) -> None:
        names = self.files(tmp_path, "a.csv.gz", "b.ndjson")
        server.answer("POST /api/v1/datasets/weather/records", job(), job())
        result = run("submit", "weather", *names)
        assert result.exit_code == 0
        assert [(r.headers["content-type"], r.headers.get("content-encoding"), r.content) for r in server.requests] == [
            ("text/csv", "gzip", b"a.csv.gz"),
            ("application/x-ndjson", None, b"b.ndjson"),
        ]
        assert result.stdout.count(f"job {JOB_ID} queued") == 2

    def test_all_are_waited_for_and_one_failure_is_the_exit_code(
        self, server: Server, run: Run, tmp_path: Path
    ) -> None:
        names = self.files(tmp_path, "a.csv", "b.csv", "c.csv")
        server.answer("POST /api/v1/datasets/weather/records", job())
        server.answer(
            f"GET /api/v1/jobs/{JOB_ID}", job("succeeded"), job("failed", {"detail": "full"}), job("succeeded")
        )
        result = run("submit", "weather", *names, "--wait")
        assert result.exit_code == 1
        assert len(server.requests) == 6
        assert "full" in result.stderr

    def test_a_missing_file_or_an_option_of_one_job_stops_all_before_the_first(
        self, server: Server, run: Run, tmp_path: Path
    ) -> None:
        self.files(tmp_path, "a.csv")
        for more in (["b.csv"], ["-"], ["a.tsv"], ["a.csv", "--idempotency-key", "k"], ["a.csv", "--retry-of", JOB_ID]):
            assert run("submit", "weather", "a.csv", *more).exit_code == 2
        assert server.requests == []


class TestExitCodes:
    def test_0_when_the_job_succeeded(self, server: Server, run: Run) -> None:
        server.answer("POST /api/v1/datasets/weather/records", job("succeeded"))
        result = run("submit", "weather", "--wait", stdin=b"{}\n")
        assert result.exit_code == 0
        assert "succeeded: 3 of 3 records, 1 superseded" in result.stdout

    @pytest.mark.parametrize("state", ["failed", "cancelled"])
    def test_1_when_the_job_did_not_succeed(self, server: Server, run: Run, state: str) -> None:
        server.answer(f"GET /api/v1/jobs/{JOB_ID}", job(state, {"detail": "disk full"}))
        result = run("jobs", "wait", JOB_ID)
        assert result.exit_code == 1
        assert "disk full" in result.stderr
        assert result.stdout == ""

    def test_2_for_a_wrong_command_line(self, server: Server, run: Run, tmp_path: Path) -> None:
        assert run("submit").exit_code == 2
        assert run("submit", "weather", "missing.csv").exit_code == 2
        assert run("submit", "weather", "--timeout", "5", stdin=b"").exit_code == 2
        assert run("search", "weather", "text", "--like", "key").exit_code == 2
        assert run("search", "weather", "text", "--where", "{broken").exit_code == 2
        assert run("records", "delete", "weather").exit_code == 2
        (tmp_path / "contract.json").write_text("{'single': 1}")
        assert run("datasets", "create", "contract.json").exit_code == 2
        assert server.requests == []

    def test_3_when_refused_and_the_places_are_named(self, server: Server, run: Run) -> None:
        places = [
            {"pointer": f"/{record}/temp", "code": "too_large", "reason": "99 is over 60", "record": record, "line": 2}
            for record in range(25)
        ]
        server.answer("POST /api/v1/datasets/weather/records", problem(422, errors=places, errors_total=300))
        result = run("submit", "weather", stdin=b"{}\n")
        assert result.exit_code == 3
        assert "line 2, /0/temp: 99 is over 60 [too_large]" in result.stderr
        assert "… and 280 more" in result.stderr

    def test_4_when_nobody_answers_or_the_server_cannot(self, server: Server, run: Run) -> None:
        result = run("datasets", "list")
        assert result.exit_code == 4
        assert "gristmill up" in result.stderr
        server.answer("GET /api/v1/datasets", problem(503))
        assert run("datasets", "list").exit_code == 4

    def test_5_when_the_time_is_over(self, server: Server, run: Run) -> None:
        server.answer(f"GET /api/v1/jobs/{JOB_ID}", job("running"))
        result = run("jobs", "wait", JOB_ID, "--timeout", "0.05")
        assert result.exit_code == 5
        assert "still running" in result.stderr


class TestJson:
    def test_a_list_is_one_document_per_line(self, server: Server, run: Run) -> None:
        server.answer("GET /api/v1/jobs", {"jobs": [job(), job("failed")], "next_page_token": None})
        assert [found["state"] for found in documents(run("jobs", "list", "--json"))] == ["queued", "failed"]

    def test_a_failed_job_is_still_the_answer(self, server: Server, run: Run) -> None:
        server.answer(f"GET /api/v1/jobs/{JOB_ID}", job("failed", {"detail": "disk full"}))
        result = run("jobs", "wait", JOB_ID, "--json")
        assert result.exit_code == 1
        assert documents(result)[0]["error"] == {"detail": "disk full"}

    def test_a_refusal_leaves_standard_output_empty(self, server: Server, run: Run) -> None:
        server.answer("GET /api/v1/datasets/none", problem(404))
        result = run("datasets", "show", "none", "--json")
        assert (result.exit_code, result.stdout) == (3, "")
        assert json.loads(result.stderr)["code"] == "a_code"

    def test_an_empty_list_prints_nothing(self, server: Server, run: Run) -> None:
        server.answer("GET /api/v1/datasets", {"datasets": []})
        assert run("datasets", "list", "--json").stdout == ""


class TestConnection:
    def test_the_url_comes_from_the_option_then_the_environment_then_the_stack(
        self, server: Server, run: Run, tmp_path: Path
    ) -> None:
        server.answer("GET /api/v1/datasets", {"datasets": []})
        run("datasets", "list")
        (tmp_path / ".gristmill").mkdir()
        (tmp_path / ".gristmill/stack.json").write_text('{"ports": {"api": 4711}, "api_host": "0.0.0.0"}')
        run("datasets", "list")
        run("datasets", "list", env={"GRISTMILL_URL": "http://env:1", "GRISTMILL_API_KEY": "k"})
        run("datasets", "list", "--url", "http://flag:2", env={"GRISTMILL_URL": "http://env:1"})
        assert server.urls == ["http://127.0.0.1:8000", "http://127.0.0.1:4711", "http://env:1", "http://flag:2"]
        assert server.keys == [None, None, "k", None]

    @pytest.mark.parametrize("content", ["", "[]", '{"ports": {}}', "{"])
    def test_a_broken_stack_file_is_no_address(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "stack.json").write_text(content)
        assert session.stack_url(str(tmp_path)) is None


class TestSubmit:
    def test_standard_input_is_ndjson_unless_said_otherwise(self, server: Server, run: Run) -> None:
        server.answer("POST /api/v1/datasets/weather/records", job())
        result = run("submit", "weather", "-", "--label", "team=a", stdin=b'{"a":1}\n')
        assert "gristmill jobs wait" in result.stdout
        run("submit", "weather", "--format", "csv", "--on-conflict", "fail", stdin=b"a\n1\n")
        first, second = server.requests
        assert (first.headers["Content-Type"], first.content) == ("application/x-ndjson", b'{"a":1}\n')
        assert first.url.params["label"] == "team=a"
        assert (second.headers["Content-Type"], second.url.params["on_conflict"]) == ("text/csv", "fail")

    @pytest.mark.parametrize("more", [[], ["--dry-run"]])
    def test_what_csv_is_written_in_goes_along(self, server: Server, run: Run, tmp_path: Path, more: list[str]) -> None:
        server.answer("POST /api/v1/datasets/weather/records", job())
        server.answer("POST /api/v1/datasets/weather/validate", {"valid": True})
        (tmp_path / "data.csv").write_bytes(b"a\n1\n")
        options = {"delimiter": ";", "decimal": ",", "thousands": ".", "encoding": "cp1252", "null": "-", "quote": "'"}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        assert run("submit", "weather", "data.csv", *words, *more).exit_code == 0
        assert dict(server.requests[-1].url.params) == {**options, **({"pipeline": "true"} if more else {})}

    def test_a_file_is_sent_as_its_suffix_says(self, server: Server, run: Run, tmp_path: Path) -> None:
        server.answer("POST /api/v1/datasets/weather/records", job())
        (tmp_path / "data.csv").write_bytes(b"a\n1\n")
        assert run("submit", "weather", "data.csv", "--json").exit_code == 0
        assert server.requests[0].headers["Content-Type"] == "text/csv"

    def test_a_dry_run_only_validates(self, server: Server, run: Run) -> None:
        server.answer("POST /api/v1/datasets/weather/validate", {"valid": True, "records": 1})
        assert run("submit", "weather", "--dry-run", stdin=b"{}").exit_code == 0


class TestTables:
    def test_piped_tables_are_never_cut(self, server: Server, run: Run) -> None:
        long = "word " * 200
        page = {"records": [{"id": 1, "note": long, "gone": None}], "next_page_token": None}
        server.answer("POST /api/v1/datasets/notes/records/query", page)
        result = run("records", "list", "notes")
        assert long.strip() in result.stdout
        assert len(result.stdout.splitlines()) == 2

    def test_records_cannot_send_control_characters_to_the_terminal(self, server: Server, run: Run) -> None:
        server.answer("GET /api/v1/datasets/notes/records/1", {"note": "\x1b[31mred[/b]\u202e", "json": {"a": [1]}})
        result = run("records", "get", "notes", "1")
        assert "\\x1b[31mred[/b]\\u202e" in result.stdout
        assert '{"a": [1]}' in result.stdout

    def test_the_image_of_a_record_is_written_to_a_file(self, server: Server, run: Run, tmp_path: Path) -> None:
        path = "/api/v1/datasets/notes/records/a%2Fb/image"
        server.answer(f"GET {path}", httpx.Response(200, content=b"\xff\xd8picture"))
        result = run("records", "image", "notes", "a/b", "--size", "64", "--field", "photo", "-o", "a.jpg")
        assert (result.exit_code, (tmp_path / "a.jpg").read_bytes()) == (0, b"\xff\xd8picture")
        assert dict(server.requests[0].url.params) == {"field": "photo", "size": "64"}

    def test_the_limit_ends_the_paging(self, server: Server, run: Run) -> None:
        page = {"records": [{"n": 1}, {"n": 2}], "next_page_token": "more"}
        server.answer("POST /api/v1/datasets/notes/records/query", page)
        result = run("records", "list", "notes", "-n", "3", "--json", "--where", '{"n": 1}', "--order", "-n")
        assert len(documents(result)) == 3
        assert len(server.requests) == 2
        assert json.loads(server.requests[0].content) == {"where": {"n": 1}, "order": ["-n"], "page_size": 3}


class TestSearch:
    def test_by_text_with_a_condition_from_a_file(self, server: Server, run: Run, tmp_path: Path) -> None:
        server.answer(
            "POST /api/v1/datasets/notes/search",
            {
                "hits": [{"key": 1, "record": {"id": 1}, "distance": 0.25, "score": 0.75}],
                "complete": False,
                "incomplete_because": "too slow",
                "plan": "segments",
                "took_ms": 1.52,
            },
        )
        (tmp_path / "where.json").write_text('{"id": {"gt": 0}}')
        result = run("search", "notes", "rain", "-k", "3", "--where", "@where.json")
        assert json.loads(server.requests[0].content) == {"text": "rain", "k": 3, "where": {"id": {"gt": 0}}}
        assert "1 hits in 1.5 ms, plan: segments; not complete: too slow" in result.stderr
        assert "0.75" in result.stdout

    def test_options_become_members_of_the_request(self, server: Server, run: Run) -> None:
        answer = {"hits": [], "complete": True, "plan": "exact", "took_ms": 1}
        server.answer("POST /api/v1/datasets/notes/search", answer)
        assert run("search", "notes", "rain", "--mode", "text", "--min-score", "0.5", "--exact").exit_code == 0
        assert json.loads(server.requests[0].content) == {
            "text": "rain", "k": 10, "mode": "text", "min_score": 0.5, "exact": True,
        }  # fmt: skip
        assert run("search", "notes", "rain", "--mode", "hybrid", "--vector", "[1]", "--ef", "200").exit_code == 0
        assert json.loads(server.requests[1].content) == {
            "text": "rain", "k": 10, "mode": "hybrid", "vector": [1], "ef": 200,
        }  # fmt: skip
        assert run("search", "notes", "rain", "--mode", "text", "--vector", "[1]").exit_code == 2

    def test_an_image_is_sent_as_a_form(self, server: Server, run: Run, tmp_path: Path) -> None:
        server.answer(
            "POST /api/v1/datasets/notes/search", {"hits": [], "complete": True, "plan": "exact", "took_ms": 1}
        )
        (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 the file")
        assert run("search", "notes", "--image", "photo.jpg", "-k", "3").exit_code == 0
        (request,) = server.requests
        assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
        assert b'name="query"' in request.content
        assert b'{"k":3}' in request.content
        assert b"\xff\xd8 the file" in request.content
        assert run("search", "notes", "rain", "--image", "photo.jpg").exit_code == 2
        assert run("search", "notes", "--image", "missing.jpg").exit_code == 2

    @pytest.mark.parametrize(
        ("key", "text", "sent"),
        [(["id"], "7", 7), (["name"], "7", "7"), (["name"], "[x", "[x"), (["name", "id"], '["JFK", 1]', ["JFK", 1])],
    )
    def test_like_sends_the_key_as_the_contract_types_it(
        self, server: Server, run: Run, key: list[str], text: str, sent: Any
    ) -> None:
        fields = [{"name": "id", "type": "integer"}, {"name": "name", "type": "text"}]
        server.answer("GET /api/v1/datasets/notes", {"contract": {"fields": fields, "key": key}})
        server.answer(
            "POST /api/v1/datasets/notes/search", {"hits": [], "complete": True, "plan": "exact", "took_ms": 1}
        )
        assert run("search", "notes", "--like", text).exit_code == 0
        assert json.loads(server.requests[-1].content)["like"] == sent


INDEX_REPORT = {
    "dataset": "weather",
    "tail_rows": 7,
    "segments": [{"index": "weather__seg1", "state": "ready", "first": 1, "last": 9, "rows": 9, "bytes": 8192}],
    "failures": [{"job": JOB_ID, "state": "failed", "detail": "a lock was not had"}],
}


class TestIndex:
    def test_show_prints_segments_and_failures(self, server: Server, run: Run) -> None:
        server.answer("GET /api/v1/datasets/weather/index", INDEX_REPORT)
        shown = run("index", "show", "weather")
        assert shown.exit_code == 0
        assert "weather__seg1" in shown.stdout
        assert "a lock was not had" in shown.stderr
        assert json.loads(run("index", "show", "weather", "--json").stdout) == INDEX_REPORT

    @pytest.mark.parametrize(("command", "hold"), [("hold", True), ("release", False)])
    def test_hold_and_release(self, server: Server, run: Run, command: str, hold: bool) -> None:
        server.answer("PATCH /api/v1/datasets/weather/index", INDEX_REPORT)
        assert run("index", command, "weather").exit_code == 0
        assert json.loads(server.requests[-1].content) == {"hold": hold}

    def test_a_rebuild_is_a_job(self, server: Server, run: Run) -> None:
        server.answer("POST /api/v1/datasets/weather/index/rebuild", job("succeeded"))
        shown = run("index", "rebuild", "weather", "--wait", "--json")
        assert (shown.exit_code, json.loads(shown.stdout)["id"]) == (0, JOB_ID)

    @pytest.mark.parametrize("several", [False, True])
    def test_tuning_prints_the_curves_and_the_proposal(self, server: Server, run: Run, several: bool) -> None:
        contribution = {"share": [0.426, 0.4], "missed": [[0.1, 0.05]] * 2, "error": [[0.0, 0.0]] * 2, "rows": 21}
        curve = {
            "contribution": contribution if several else None,
            "k": [10, 100], "ef": [20, 40], "recall": [[0.91, 0.95], [0.2, 0.4]], "error": [[0.01, 0.01], [0, 0]],
            "walk_ms": [0.6, 1.1], "queries": 256, "known_from": "records", "learnt_at": "2026-11-27T10:00:00.000000Z",
        }  # fmt: skip
        effort = {"recall_target": 0.98, "ef": 131, "expected_recall": 0.9838, "reached": True, "walk_ms": 2.4}
        report = {
            **INDEX_REPORT, "segments": [{**INDEX_REPORT["segments"][0], "curve": curve}], "efforts": [effort],
            "recall": {"value": 0.9841, "target": 0.98}, "proposal": None,
        }  # fmt: skip
        server.answer("POST /api/v1/datasets/weather/index/tune", job("succeeded"))
        server.answer("GET /api/v1/datasets/weather/index", report)
        shown = run("index", "tune", "weather")
        assert shown.exit_code == 0
        part = ", 43% of the 10 nearest of all are in it" if several else ""
        assert f"weather__seg1, 9 records{part}: recall, by 256 records" in shown.stdout
        for part in ("of 100", "0.95", "1.1", "131", "0.9838"):
            assert part in shown.stdout
        assert "measured 0.9841 at the target 0.98" in shown.stderr
        assert "nothing to propose" in shown.stderr
        found = json.loads(run("index", "tune", "weather", "--json").stdout)
        assert (found["job"]["id"], found["efforts"]) == (JOB_ID, [effort])


class TestChanges:
    def test_dropping_without_a_terminal_needs_yes(self, server: Server, run: Run) -> None:
        server.answer("DELETE /api/v1/datasets/weather", job())
        assert run("datasets", "drop", "weather").exit_code == 2
        assert server.requests == []
        assert run("datasets", "drop", "weather", "--yes").exit_code == 0

    def test_truncating_without_a_terminal_needs_yes(self, server: Server, run: Run) -> None:
        server.answer("POST /api/v1/datasets/weather/truncate", job())
        assert run("datasets", "truncate", "weather").exit_code == 2
        assert server.requests == []
        assert run("datasets", "truncate", "weather", "--yes").exit_code == 0

    def test_renaming_copying_and_creating_what_may_be_there(self, server: Server, run: Run) -> None:
        server.answer("POST /api/v1/datasets/weather/rename", job())
        server.answer("POST /api/v1/datasets/weather/copy", job())
        server.answer("POST /api/v1/datasets", job())
        assert run("datasets", "rename", "weather", "climate").exit_code == 0
        assert run("datasets", "copy", "weather", "warm", "--where", '{"t": 1}').exit_code == 0
        assert run("datasets", "copy", "weather", "warm", "--where", "{").exit_code == 2
        assert run("datasets", "create", "-", "--if-not-exists", stdin=b'{"name": "d"}').exit_code == 0
        assert [json.loads(request.content) for request in server.requests] == [
            {"name": "climate"},
            {"name": "warm", "where": {"t": 1}},
            {"name": "d"},
        ]
        assert server.requests[-1].url.params["if_not_exists"] == "true"

    def test_labels_are_listed_with_their_values(self, server: Server, run: Run) -> None:
        values = [{"value": "night", "jobs": 9}, {"value": "day", "jobs": 3}]
        server.answer("GET /api/v1/jobs/labels", {"labels": [{"name": "run", "values": values}]})
        lines = run("jobs", "labels", "run", "-n", "2").stdout.splitlines()
        assert [line.split() for line in lines[-2:]] == [["run", "night", "9"], ["run", "day", "3"]]
        assert dict(server.requests[0].url.params) == {"name": "run", "values": "2"}

    def test_contracts_come_from_files_or_standard_input(self, server: Server, run: Run) -> None:
        server.answer("POST /api/v1/datasets", job())
        assert run("datasets", "create", "-", stdin='{"name": "straße"}'.encode()).exit_code == 0
        assert json.loads(server.requests[0].content) == {"name": "straße"}

    def test_patch_and_delete(self, server: Server, run: Run) -> None:
        server.answer("PATCH /api/v1/datasets/notes/records/1", job())
        server.answer("DELETE /api/v1/datasets/notes/records/1", job())
        server.answer("POST /api/v1/datasets/notes/records/delete", job())
        assert run("records", "patch", "notes", "1", '{"note": "x"}').exit_code == 0
        assert run("records", "delete", "notes", "1").exit_code == 0
        assert run("records", "delete", "notes", "--where", "{}").exit_code == 0
        assert [json.loads(request.content or b"null") for request in server.requests] == [
            {"note": "x"},
            None,
            {"where": {}},
        ]


def test_version_works_without_a_server(server: Server, run: Run) -> None:
    result = run("version", "--json")
    assert result.exit_code == 0
    assert documents(result)[0]["server"] is None
    assert run("--version").stdout.strip() == documents(result)[0]["gristmill"]


def test_every_command_has_the_common_options_and_help(run: Run) -> None:
    for words in (["submit"], ["search"], ["datasets", "create"], ["jobs", "retry"], ["records", "latest"], ["up"]):
        result = run(*words, "--help", env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        assert all(option in result.stdout for option in ("--json", "--url", "--api-key"))


class TestPipeline:
    STEP: ClassVar[Any] = {
        "op": "fill", "description": "Puts a value.", "per_record": True, "multiplies": False,
        "parameters": {
            "properties": {"op": {}, "value": {"description": "What stands for null."}}, "required": ["value"],
        },
        "examples": [{"step": {"op": "fill"}, "before": [], "after": []}],
    }  # fmt: skip
    FRAME: ClassVar[Any] = {
        "columns": [{"name": "n", "type": "integer"}], "rows": [{"record": 0, "row": {"n": 9007199254740993}}],
        "rows_left_out": 0,
    }  # fmt: skip

    def test_steps_are_listed_and_shown(self, server: Server, run: Run) -> None:
        server.answer("GET /api/v1/transforms", {"transforms": [self.STEP]})
        assert "Puts a value." in run("pipeline", "steps").stdout
        shown = run("pipeline", "steps", "fill")
        assert "What stands for null." in shown.stdout
        assert "Puts a value." in shown.stderr
        unknown = run("pipeline", "steps", "mop")
        assert (unknown.exit_code, "they are: fill" in unknown.stderr) == (2, True)
        assert documents(run("pipeline", "steps", "fill", "--json")) == [self.STEP]

    def test_a_preview_shows_every_frame_and_what_does_not_fit(self, server: Server, run: Run, tmp_path: Path) -> None:
        answer = {
            "dataset": "d", "records": 2, "input": self.FRAME, "steps": [{"step": 0, "op": "fill", **self.FRAME}],
            "output": self.FRAME, "rejects": [{"record": 1, "errors": [{"reason": "it is bad"}]}], "dropped": [],
        }  # fmt: skip
        server.answer("POST /api/v1/datasets/d/pipeline/preview", answer)
        (tmp_path / "a.csv").write_text("n\n1\n2\n")
        result = run("pipeline", "preview", str(tmp_path / "a.csv"), "--dataset", "d")
        assert result.exit_code == 0, result.output
        assert result.stdout.count("9007199254740993") == 3
        assert "after step 0 (fill)" in result.stderr
        assert "record 1 does not fit: it is bad" in result.stderr
        assert run("pipeline", "preview", str(tmp_path / "a.csv")).exit_code == 2
        assert documents(run("pipeline", "preview", str(tmp_path / "a.csv"), "-d", "d", "--json")) == [answer]


class TestOwnJobs:
    TYPES: ClassVar[Any] = {
        "job_types": [
            {
                "name": "reports.daily", "title": "Write a report", "queue": "default", "permission": "write",
                "args": {"properties": {"dataset": {}, "since": {}}, "required": ["dataset"]},
            }
        ],
        "plugins": [{"name": "broken", "named_by": "jobs.plugins", "error": "ImportError: no"}],
    }  # fmt: skip

    def test_types_are_listed_with_their_arguments_and_failed_plugins_are_noted(self, server: Server, run: Run) -> None:
        server.answer("GET /api/v1/job-types", self.TYPES)
        result = run("jobs", "types")
        assert result.exit_code == 0
        assert "dataset [since]" in result.stdout
        assert "broken (jobs.plugins) was not loaded: ImportError: no" in result.stderr
        assert documents(run("jobs", "types", "--json")) == self.TYPES["job_types"]

    def test_a_job_is_submitted_with_its_arguments_and_its_result_is_printed(
        self, server: Server, run: Run, tmp_path: Path
    ) -> None:
        done = {**job("succeeded", total=0), "result": {"rows": 3}}
        server.answer("POST /api/v1/jobs", done)
        (tmp_path / "args.json").write_text('{"n": 2}')
        for given, sent in (('{"n": 1}', {"n": 1}), ("@args.json", {"n": 2}), ("-", {"n": 3})):
            result = run("jobs", "submit", "a.b", "--args", given, "--label", "x=y", "--wait", stdin=b'{"n": 3}')
            assert result.exit_code == 0, result.output
            body = json.loads(server.requests[-1].content)
            assert body == {"type": "a.b", "args": sent, "labels": {"x": "y"}}
            assert result.stdout.splitlines()[-1] == '{"rows": 3}'
        assert documents(run("jobs", "submit", "a.b", "--json")) == [done]

    def test_arguments_that_are_no_object_are_a_wrong_command_line(self, server: Server, run: Run) -> None:
        for given in ("[1]", "{", "3"):
            result = run("jobs", "submit", "a.b", "--args", given)
            assert (result.exit_code, server.requests) == (2, []), given
            assert "--args" in result.stderr

    def test_up_notes_plugins_that_were_not_loaded(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(host, "Client", server.make_client)
        found = session.Session(False, None, None, ".nothing")
        host._note_plugins(found, "http://mill.test")
        assert capsys.readouterr().err == "", "nothing is said where the API does not answer"
        server.answer("GET /api/v1/job-types", self.TYPES)
        host._note_plugins(found, "http://mill.test")
        assert "the plugin broken (jobs.plugins) was not loaded: ImportError: no" in capsys.readouterr().err

    def test_a_refusal_shows_each_pointer(self, server: Server, run: Run) -> None:
        errors = [{"pointer": "/args/since", "code": "missing", "reason": "since: Field required"}]
        server.answer("POST /api/v1/jobs", problem(422, errors=errors, errors_total=1))
        result = run("jobs", "submit", "a.b")
        assert result.exit_code == 3
        assert "since: Field required" in result.stderr

    def test_a_view_is_a_table_or_what_the_format_says(self, server: Server, run: Run) -> None:
        row = {"sensor": "a", "moving_avg": 1.5}
        server.answer("GET /api/v1/datasets/d/views/smooth", {"view": "smooth", "batch": None, "rows": [row]})
        result = run("view", "d", "smooth", "--where", '{"n": 1}', "--start", "2026-01-31")
        assert result.exit_code == 0, result.output
        assert "moving_avg" in result.stdout
        assert server.requests[-1].url.params["where"] == '{"n":1}'
        assert server.requests[-1].url.params["start"] == "2026-01-31"
        server.answer("GET /api/v1/datasets/d/views/smooth", httpx.Response(200, content=b"sensor,moving_avg\na,1.5\n"))
        assert run("view", "d", "smooth", "--format", "csv").stdout == "sensor,moving_avg\na,1.5\n"
        assert server.requests[-1].headers["accept"] == "text/csv"
