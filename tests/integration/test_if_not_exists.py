"""Creating a dataset that may be there already: the same contract does nothing, another one is refused in detail."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.support.in_process import InProcess

URL = "/api/v1/datasets"
CONTRACT: dict[str, Any] = {
    "name": "things",
    "title": "Things",
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "t", "type": "text", "filterable": True},
        {"name": "ok", "type": "json", "default": True},
    ],
    "key": ["id"],
}


@pytest.fixture
def app(fresh_app: InProcess) -> InProcess:
    """They patch what its services are."""
    return fresh_app


def create(app: InProcess, body: Any = CONTRACT, flag: str = "", **options: Any) -> Any:
    return app.http.post(f"{URL}?if_not_exists{flag}", json=body, **options)


class TestSameContract:
    def test_the_second_create_changes_nothing_and_says_so(self, app: InProcess) -> None:
        assert app.job(create(app))["result"] == {"table": "data.things", "created": True}
        before = app.http.get(f"{URL}/things").json()
        assert app.job(create(app, flag="=true"))["result"] == {"table": "data.things", "created": False}
        # Defaults count as said, and the order of fields does not matter.
        same = {**CONTRACT, "fields": [CONTRACT["fields"][2], {**CONTRACT["fields"][1], "max_length": 255},
                                       CONTRACT["fields"][0]]}  # fmt: skip
        assert app.job(create(app, same))["result"]["created"] is False
        assert app.http.get(f"{URL}/things").json() == before

    def test_it_waits_for_a_creation_that_is_queued_and_for_nothing_else(self, app: InProcess) -> None:
        first, second = create(app), create(app)
        assert (first.status_code, second.status_code) == (202, 202)
        assert second.json()["id"] != first.json()["id"]
        assert app.job(second)["state"] == "succeeded"
        app.post("things", [{"id": 1}])
        delete = app.http.delete(app.key("things", "1"))
        third = create(app).json()
        # Only the newest job is run: what was queued before it is not waited for.
        with app.gristmill.database.autocommit() as connection:
            scope = connection.exec_driver_sql(
                "SELECT scope FROM gristmill.jobs WHERE id = %s", (third["id"],)
            ).scalar()
        assert str(scope).startswith("presence:")
        assert app.job(delete)["state"] == "succeeded"

    def test_without_the_flag_it_is_a_conflict_as_ever(self, app: InProcess) -> None:
        create(app)
        for flag in ("=false", None):
            url = URL if flag is None else f"{URL}?if_not_exists{flag}"
            answer = app.http.post(url, json=CONTRACT)
            assert (answer.status_code, answer.json()["code"]) == (409, "dataset_exists")

    def test_the_flag_is_part_of_what_an_idempotency_key_stands_for(self, app: InProcess) -> None:
        key = {"idempotency-key": "once"}
        first = create(app, headers=key)
        assert create(app, headers=key).json()["id"] == first.json()["id"]
        assert app.http.post(URL, json=CONTRACT, headers=key).status_code == 422

    def test_a_flag_that_is_neither_is_refused(self, app: InProcess) -> None:
        answer = create(app, flag="=maybe")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/if_not_exists")


class TestOtherContract:
    @pytest.mark.parametrize(
        ("change", "places"),
        [
            ({"title": "Other"}, [("/title", "title is \"Things\" there, and \"Other\" here")]),
            ({"key": []}, [("/key", 'key is ["id"] there, and [] here')]),
            (
                {"fields": [*CONTRACT["fields"][:2], {"name": "ok", "type": "json", "default": 1}]},
                [("/fields/2/default", "ok: default is true there, and 1 here")],
            ),
            (
                {"fields": [CONTRACT["fields"][0], {"name": "n", "type": "text"}, *CONTRACT["fields"][2:]]},
                [
                    ("/fields/1", "the dataset has no field n"),
                    ("/fields", "the dataset has a field t, which is not given"),
                ],
            ),
        ],
    )  # fmt: skip
    def test_every_difference_is_named(self, app: InProcess, change: Any, places: list[tuple[str, str]]) -> None:
        create(app)
        answer = create(app, {**CONTRACT, **change})
        assert (answer.status_code, answer.json()["code"]) == (409, "contract_differs")
        assert [(one["pointer"], one["reason"]) for one in answer.json()["errors"]] == places

    def test_a_change_that_is_on_its_way_counts(self, app: InProcess) -> None:
        app.job(create(app))
        app.http.patch(f"{URL}/things", json={"title": "Newer"})
        assert create(app).json()["code"] == "contract_differs"
        assert create(app, {**CONTRACT, "title": "Newer"}).status_code == 202

    def test_a_bad_contract_is_refused_as_ever(self, app: InProcess) -> None:
        create(app)
        assert create(app, {**CONTRACT, "key": ["nope"]}).status_code == 422


class TestMeanwhile:
    def test_of_many_at_once_one_creates_it(self, app: InProcess) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: create(app), range(16)))
        assert [answer.status_code for answer in answers] == [202] * 16
        app.work()
        made = [app.http.get(answer.json()["links"]["self"]).json()["result"]["created"] for answer in answers]
        assert sorted(made) == [False] * 15 + [True]

    def test_what_failed_is_created_anew_and_who_waited_for_it_learns_that(self, app: InProcess) -> None:
        first, second = create(app), create(app)
        assert app.http.post(first.json()["links"]["cancel"]).json()["state"] == "cancelled"
        assert app.job(second)["error"]["code"] == "dataset_failed"
        assert app.job(create(app))["result"]["created"] is True

    def test_what_is_dropped_before_it_was_looked_at_is_not_there(self, app: InProcess) -> None:
        app.job(create(app))
        second = create(app)
        app.http.delete(f"{URL}/things?confirm=things")
        assert app.job(second)["state"] == "cancelled"
        assert app.job(create(app))["result"]["created"] is True
