"""Contracts of docs/pipelines.md do what the page says."""

import json
import re
from pathlib import Path
from typing import Any

from tests.support.in_process import InProcess

PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")


def contract(name: str) -> dict[str, Any]:
    """The contract on the page that is called so."""
    found = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    (one,) = [body for body in found if body.get("name") == name]
    body: dict[str, Any] = one
    return body


def test_the_first_one_maps_and_drops(app: InProcess) -> None:
    name = app.dataset(contract("shirts"))
    app.job(
        app.post(
            name,
            [
                {"n": 1, "colour": "red", "size_name": "small"},
                {"n": 2, "colour": None, "size_name": "large"},
                {"n": 3, "colour": "pink", "size_name": "large"},
            ],
        )
    )
    assert app.rows(name) == [
        {"n": 1, "colour": "red", "code": "R", "size": 1},
        {"n": 3, "colour": "pink", "code": "?", "size": 3},
    ]


def test_a_manual_is_found_by_its_parts_and_replaced_in_order(app: InProcess) -> None:
    name = app.dataset(contract("manuals"))
    paragraphs = [
        f"<p>Chapter {n}: {topic} {'and so on ' * 120}</p>" for n, topic in enumerate(("oil", "valves", "noise"))
    ]
    job = app.job(
        app.post(name, [{"manual": "pump-7", "body": "".join(paragraphs)}, {"manual": "fan-1", "body": "Short."}])
    )
    rows = app.rows(name)
    assert job["record_counts"]["succeeded"] == 2
    assert job["result"] == {"rows": len(rows)}
    assert [row["part_no"] for row in rows] == [*range(1, len(rows)), 1]
    assert len(rows) > 4
    hits = app.http.post(f"/api/v1/datasets/{name}/search", json={"text": "valves", "k": 2}).json()["hits"]
    assert any("valves" in hit["record"]["part"] for hit in hits)
    gone = app.post(name, {"where": {"manual": "pump-7"}}, path="records/delete")
    again = app.post(name, [{"manual": "pump-7", "body": "New and short."}])
    app.job(gone)
    app.job(again)
    assert [(row["manual"], row["part"]) for row in app.rows(name)] == [
        ("fan-1", "Short."),
        ("pump-7", "New and short."),
    ]
