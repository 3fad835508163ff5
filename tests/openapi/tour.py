"""The README's tour through a client that openapi-python-client has generated; prints each answer as a line of JSON.

Run in .venv-openapi: ``python tour.py URL DATASET`` with the generated package on the path.
"""

import json
import sys
from typing import Any

from gristmill_client import Client  # type: ignore[import-not-found]
from gristmill_client.api.datasets import (  # type: ignore[import-not-found]
    create_dataset,
    drop_dataset,
    get_dataset,
)
from gristmill_client.api.jobs import get_job  # type: ignore[import-not-found]
from gristmill_client.api.records import (  # type: ignore[import-not-found]
    delete_record,
    delete_records,
    export_records,
    get_record,
    list_records,
    submit_records,
    validate_records,
)
from gristmill_client.api.search import search  # type: ignore[import-not-found]
from gristmill_client.models import (  # type: ignore[import-not-found]
    DeleteByFilter,
    NewContract,
    Problem,
    Record,
    Search,
    Where,
)

TOUR = json.loads(sys.stdin.read())
KEY = json.dumps(TOUR["key"], separators=(",", ":"))


def say(step: str, answer: Any) -> None:
    shown = answer.to_dict() if hasattr(answer, "to_dict") else answer
    sys.stdout.write(json.dumps({"step": step, "answer": shown}) + "\n")


def records(rows: list[dict[str, Any]]) -> list[Record]:
    return [Record.from_dict(row) for row in rows]


def main(url: str, name: str) -> None:
    client = Client(base_url=url)
    contract = NewContract.from_dict({**TOUR["contract"], "name": name})
    say("create", create_dataset.sync(client=client, body=contract, wait=30))
    key = f"tour-{name}"
    for step in ("submit", "again"):
        job = submit_records.sync(name, client=client, body=records(TOUR["records"]), wait=30, idempotency_key=key)
        say(step, job)
    say("job", get_job.sync(job.id, client=client))
    say("dataset", get_dataset.sync(name, client=client))
    say("search", search.sync(name, client=client, body=Search.from_dict(TOUR["search"])))
    say("record", get_record.sync(name, KEY, client=client))
    page = list_records.sync(name, client=client, **TOUR["list"])
    say("page", {"records": page.to_dict()["records"]})
    following = list_records.sync(name, client=client, **TOUR["list"], page_token=page.next_page_token)
    say("next page", {"records": following.to_dict()["records"]})
    answer = export_records.sync_detailed(name, client=client)
    say("export", answer.content.decode())
    refused = submit_records.sync(name, client=client, body=records(TOUR["wrong"]))
    assert isinstance(refused, Problem), refused
    say("refused", refused)
    say("validate", validate_records.sync(name, client=client, body=records(TOUR["records"])))
    say("delete", delete_record.sync(name, KEY, client=client, wait=30))
    where = DeleteByFilter(where=Where.from_dict(TOUR["where"]))
    say("delete by filter", delete_records.sync(name, client=client, body=where, wait=30))
    say("missing", get_record.sync(name, KEY, client=client))
    say("drop", drop_dataset.sync(name, client=client, confirm=name, wait=30))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
