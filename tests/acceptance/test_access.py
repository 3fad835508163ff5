"""Who may call, how much may be queued, and what can be seen of it from outside."""

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.rest import Json, Rest, new_name
from tests.support.system import System, eventually

from gristmill import __version__
from gristmill.access.keys import create_key, revoke_key
from gristmill.core.database import Database

CONTRACT: Json = {
    "fields": [{"name": "k", "type": "text", "required": True}, {"name": "t", "type": "text"}],
    "key": ["k"],
}
MIB = 1024 * 1024
Start = Callable[..., System]


@pytest.fixture
def start(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts an API with settings of its own on a database, by default the shared one."""
    started: list[System] = []

    def do(database_url: str = system.database_url, **settings: Any) -> System:
        found = System(database_url, system.broker_url, tmp_path_factory.mktemp("api"), **settings)
        started.append(found)
        return found.start("api")

    yield do
    for one in started:
        one.stop()


@pytest.fixture(scope="module")
def guarded(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An API that demands keys."""
    folder = tmp_path_factory.mktemp("guarded")
    found = System(system.database_url, system.broker_url, folder, api_require_key=True)
    yield found.start("api")
    found.stop()


def line(number: int, size: int) -> bytes:
    """A record whose text does not compress."""
    return json.dumps({"k": str(number), "t": secrets.token_urlsafe(size)[:size]}).encode() + b"\n"


@pytest.mark.promise(7)
class TestLimits:
    """An API without dispatcher and workers, so that everything stays queued."""

    def test_too_many_jobs_too_many_bytes_and_a_full_spool(self, start: Start, database_url: str) -> None:
        alone = start(
            database_url,
            jobs_max_queued=4,
            jobs_max_staged_bytes=MIB,
            api_max_spool_bytes=MIB,
            api_max_json_bytes=4 * MIB,
        )
        with Rest(alone) as rest:
            name = rest.create(CONTRACT, wait=0)
            headers = {"content-type": "application/x-ndjson"}
            # More than the spool may hold: refused while the body streams in.
            full = rest.post(name, b"".join(line(n, 50_000) for n in range(30)), headers=headers)
            self.refused(full, 503, "unavailable", "spool")
            # 700 kB twice is more than may be staged.
            body = b"".join(line(n, 10_000) for n in range(70))
            assert rest.post(name, body, headers=headers).status_code == 202
            self.refused(rest.post(name, body, headers=headers), 429, "too_many", "jobs_max_staged_bytes")
            assert rest.post(name, [{"k": "a"}]).status_code == 202
            assert rest.post(name, [{"k": "b"}]).status_code == 202
            self.refused(rest.post(name, [{"k": "c"}]), 429, "too_many", "jobs_max_queued")
            self.refused(
                rest.http.delete(f"/api/v1/datasets/{name}?confirm={name}"), 429, "too_many", "jobs_max_queued"
            )
            # Reading goes on, and so does a replay of what was accepted.
            assert rest.http.get("/api/v1/jobs").status_code == 200
            assert alone.query("SELECT count(*) AS n FROM gristmill.jobs")[0]["n"] == 4
            # There is room again as soon as a job has ended, here by being cancelled.
            job = rest.http.get("/api/v1/jobs", params={"type": "records.ingest", "page_size": 1}).json()["jobs"][0]
            assert rest.http.post(job["links"]["cancel"]).json()["state"] == "cancelled"
            eventually(lambda: rest.post(name, [{"k": "c"}]).status_code == 202, "a job is admitted again", 10, 0.2)

    def refused(self, answer: httpx.Response, status: int, code: str, why: str) -> None:
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert why in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"


class TestKeys:
    def test_keys_open_what_their_scope_covers_and_nothing_after_they_were_revoked(
        self, guarded: System, system: System
    ) -> None:
        database = Database(system.database_url, "test-keys", pool=1)
        names = {scope: new_name(scope) for scope in ("read", "write", "admin")}
        keys = {scope: create_key(database, names[scope], scope) for scope in names}
        try:
            url = guarded.url
            for path in ("/healthz", "/readyz", "/version", "/metrics", "/docs", "/openapi.json"):
                assert httpx.get(url + path, timeout=60).status_code == 200, path
            for headers in ({}, {"authorization": "Bearer gm_nothing"}, {"authorization": "Basic eDp5"}):
                answer = httpx.get(f"{url}/api/v1/jobs", headers=headers, timeout=60)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
                assert answer.headers["www-authenticate"].startswith("Bearer")
            clients = {scope: Rest(guarded, headers={"authorization": f"Bearer {key}"}) for scope, key in keys.items()}
            name = clients["admin"].create(CONTRACT)
            allowed = {
                scope: (
                    client.http.get("/api/v1/jobs").status_code,
                    client.post(name, [{"k": scope}]).status_code,
                    client.http.patch(f"/api/v1/datasets/{name}", json={}).status_code,
                )
                for scope, client in clients.items()
            }
            assert allowed == {"read": (200, 403, 403), "write": (200, 202, 403), "admin": (200, 202, 422)}
            job = clients["write"].store(name, [{"k": "a"}])
            assert job["submitted_by"] == f"key:{names['write']}"
            assert httpx.get(f"{url}/api/v1/jobs", headers={"x-api-key": keys["read"]}, timeout=60).status_code == 200
            # Keys are stored as hashes only.
            stored = str(system.query("SELECT * FROM gristmill.api_keys"))
            assert not any(key in stored for key in keys.values())

            revoke_key(database, names["write"])
            eventually(lambda: clients["write"].http.get("/api/v1/jobs").status_code == 401, "the key is void", 10, 0.2)
            assert clients["read"].http.get("/api/v1/jobs").status_code == 200
        finally:
            database.close()

    def test_two_principals_do_not_share_idempotency_keys(self, guarded: System, system: System) -> None:
        database = Database(system.database_url, "test-keys", pool=1)
        keys = [create_key(database, new_name("k"), "admin") for _ in range(2)]
        database.close()
        headers = {"idempotency-key": "the-same"}
        first, second = (Rest(guarded, headers={"x-api-key": key, **headers}) for key in keys)
        assert first.http.post("/api/v1/datasets", json={**CONTRACT, "name": new_name()}).status_code == 202
        assert second.http.post("/api/v1/datasets", json={**CONTRACT, "name": new_name()}).status_code == 202

    def test_other_addresses_than_loopback_need_a_key_to_start(self, system: System, database_url: str) -> None:
        found = System(database_url, system.broker_url, system.folder / "outside", api_host="0.0.0.0")
        ended = subprocess.run(
            [sys.executable, "-m", "gristmill.api"],
            env=found.environment(),
            cwd=found.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 1
        assert b"gristmill keys create" in ended.stderr

    def test_a_key_of_the_settings_that_is_too_short_is_named_and_not_shown(self, system: System) -> None:
        found = System(system.database_url, system.broker_url, system.folder / "short", api_bootstrap_key="tooshort1")
        command = [sys.executable, "-m", "gristmill.api"]
        options: dict[str, Any] = {"env": found.environment(), "cwd": found.folder, "timeout": 60}
        ended = subprocess.run(command, capture_output=True, check=False, **options)
        assert ended.returncode == 1
        assert b"api.bootstrap_key is not valid: give 20 to 200" in ended.stderr
        assert b"tooshort1" not in ended.stderr

    def test_a_page_of_another_name_cannot_reach_an_api_without_keys(self, rest: Rest) -> None:
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", ""):
            answer = rest.http.get("/api/v1/jobs", headers={"host": host})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), host
        for host in ("localhost", "127.0.0.1:9", "[::1]:8000", "[::1]"):
            assert rest.http.get("/api/v1/jobs", headers={"host": host}).status_code == 200, host


class TestService:
    def test_probes(self, rest: Rest) -> None:
        assert rest.http.get("/healthz").json() == {"status": "ok"}
        assert rest.http.get("/readyz").json() == {"status": "ready"}
        assert rest.http.get("/version").json() == {"name": "gristmill", "version": __version__}

    def test_without_postgres_every_call_is_a_503_problem(self, start: Start) -> None:
        lonely = start("postgresql://gristmill@127.0.0.1:9/nothing")
        assert httpx.get(f"{lonely.url}/healthz", timeout=60).status_code == 200
        for method, path in (
            ("GET", "/readyz"),
            ("GET", "/metrics"),
            ("GET", "/api/v1/jobs"),
            ("DELETE", "/api/v1/datasets/x"),
        ):
            answer = httpx.request(method, lonely.url + path, timeout=20)
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), path
            assert int(answer.headers["retry-after"]) >= 1

    def test_the_documentation_needs_no_other_host(self, rest: Rest) -> None:
        page = rest.http.get("/docs")
        assert page.status_code == 200
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert assets
        for asset in assets:
            assert asset.startswith("/"), asset
            assert rest.http.get(asset).status_code == 200
        document = rest.http.get("/openapi.json").json()
        assert "/api/v1/datasets/{dataset}/records" in document["paths"]

    def test_metrics_show_the_figures(self, rest: Rest) -> None:
        name = rest.create(CONTRACT)
        before = self.figures(rest)
        rest.store(name, [{"k": str(n)} for n in range(7)] + [{"k": "0"}])

        def counted() -> bool:
            after = self.figures(rest)
            names = [f'records_{what}_total{{type="records.ingest"}}' for what in ("written", "superseded")]
            return [after.get(name, 0) - before.get(name, 0) for name in names] == [7, 1]

        # Workers add their counters to Postgres every two seconds.
        eventually(counted, "the records are counted", 10, 0.2)
        figures = self.figures(rest)
        for wanted in (
            'oldest_due_chunk_seconds{queue="default"}',
            'chunks{queue="default",state="waiting"}',
            'chunks{queue="long",state="running"}',
            "staged_bytes",
            "unfinished_jobs",
            'processes{kind="dispatcher",queue=""}',
            'processes{kind="worker",queue="default"}',
            'jobs_finished_total{state="succeeded",type="records.ingest"}',
            'job_seconds_count{type="records.ingest"}',
            'request_seconds_count{method="POST",route="/api/v1/datasets/{dataset}/records",status="200"}',
        ):
            assert wanted in figures, wanted
        families = rest.http.get("/metrics").text
        assert "# TYPE gristmill_lease_losses_total counter" in families or "gristmill_lease_losses" in families

    def figures(self, rest: Rest) -> dict[str, float]:
        found = {}
        for family in text_string_to_metric_families(rest.http.get("/metrics").text):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                name = sample.name.removeprefix("gristmill_") + (f"{{{labels}}}" if labels else "")
                found[name] = sample.value
        return found

    def test_a_request_can_be_followed_through_the_logs(self, rest: Rest) -> None:
        name = rest.create(CONTRACT)
        request_id = new_name("request")
        trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
        headers = {"x-request-id": request_id, "traceparent": trace}
        answer = rest.post(name, [{"k": "a"}], headers=headers, params={"wait": 30})
        assert answer.headers["x-request-id"] == request_id
        assert answer.json()["request_id"] == request_id
        for process, event in (
            ("api", "request.ended"),
            ("dispatcher", "chunk.sent"),
            ("worker", "chunk.claimed"),
            ("worker", "chunk.ended"),
        ):
            found = eventually(lambda p=process, e=event: self.logged(rest.system, p, e, request_id), event, 60)
            assert found["traceparent"] == trace, (process, event)
        # What cannot be a header of the log is replaced.
        for bad in ("x" * 200, "a b"):
            assert rest.http.get("/healthz", headers={"x-request-id": bad}).headers["x-request-id"] != bad

    def logged(self, system: System, process: str, event: str, request_id: str) -> Json | None:
        """The event of this request in the log of a process."""
        for text in system.log(process).splitlines():
            if request_id in text and f'"{event}"' in text:
                found: Json = json.loads(text)
                return found
        return None
