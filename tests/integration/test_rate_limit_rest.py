"""The limit of requests a second over HTTP: by key, and by address without one."""

from tests.support.in_process import InProcess

from gristmill.access.keys import create_key


def test_more_requests_than_the_limit_get_429_and_probes_are_not_counted(database_url: str) -> None:
    app = InProcess(database_url, api_requests_per_second=2)
    with app.http:
        answers = [app.http.get("/api/v1/datasets") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429]
        assert answers[-1].json()["code"] == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) >= 1
        key = {"authorization": f"Bearer {create_key(app.gristmill.database, 'other', 'read')}"}
        assert app.http.get("/api/v1/datasets", headers=key).status_code == 200
        assert {app.http.get("/healthz").status_code for _ in range(10)} == {200}
    app.gristmill.database.close()
