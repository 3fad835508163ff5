"""Datasets with parents: continents, countries, cities, with names of their own for each test."""

import uuid
from typing import Any

from tests.support.in_process import InProcess, Job

AREA = {"name": "area", "type": "integer", "required": True, "minimum": 0}
PEOPLE = {"name": "population", "type": "integer", "minimum": 0}
NAME = {"name": "name", "type": "text", "required": True, "max_length": 100, "normalize": "NFC"}
LIMITS = [{"sum": "area", "at_most": "area"}, {"sum": "population", "at_most": "population"}]


def field_of(parent: str) -> Job:
    return {"name": parent, "type": "text", "required": True, "max_length": 100, "normalize": "NFC"}


class Geography:
    """Three datasets. limits: of countries and cities; parent: further members of what they say of their parents."""

    def __init__(self, app: InProcess, limits: Any = LIMITS, **parent: Any) -> None:
        self.app = app
        digits = uuid.uuid4().hex[:8]
        self.continents, self.countries, self.cities = f"continent_{digits}", f"country_{digits}", f"city_{digits}"
        self.create(self.continents, [NAME, AREA, PEOPLE])
        self.create(self.countries, [NAME, AREA, PEOPLE, field_of("continent")], "continent", limits, parent)
        self.create(self.cities, [NAME, AREA, PEOPLE, field_of("country")], "country", limits, parent)

    def create(self, name: str, fields: Any, field: str = "", limits: Any = (), parent: Any = None) -> None:
        body = {"name": name, "fields": fields, "key": ["name"]}
        if field:
            above = {"continent": self.continents, "country": self.countries}[field]
            body["parents"] = [
                {"field": field, "dataset": above, **(parent or {}), **({"limits": limits} if limits else {})}
            ]
        answer = self.app.http.post("/api/v1/datasets", json=body)
        job = self.app.job(answer)
        assert job["state"] == "succeeded", job

    def post(self, name: str, *records: Any, **options: Any) -> Any:
        return self.app.post(name, list(records), **options)

    def put(self, name: str, *records: Any, **options: Any) -> Job:
        """Submit records and return their finished job."""
        return self.app.job(self.post(name, *records, **options))

    def names(self, name: str) -> list[str]:
        found = self.app.http.get(f"/api/v1/datasets/{name}/records", params={"page_size": 1000})
        assert found.status_code == 200, found.text
        return [record["name"] for record in found.json()["records"]]


def area(name: str, value: int, people: int = 0, **more: Any) -> Job:
    return {"name": name, "area": value, "population": people, **more}
