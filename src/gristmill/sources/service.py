"""What clients ask of sources: create, list, look, change, pause, resume, delete."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Invalid, Violation
from gristmill.core.page_tokens import bad_page_token, read_page_token
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.jobs.endpoints import LABEL, is_label
from gristmill.kit.ids import uuid7
from gristmill.kit.json_pointer import pointer_to
from gristmill.kit.pagination import encode_page_token
from gristmill.records.bodies import read_body
from gristmill.records.ingest.service import RecordIngest
from gristmill.records.spool import BodySpool, Spool
from gristmill.sources import submit
from gristmill.sources.encoding import NDJSON
from gristmill.sources.errors import SourceExists, SourceNotRunning, UnknownSource
from gristmill.sources.registry import AnyKind, SourceKinds
from gristmill.sources.repository import requests as repository
from gristmill.sources.repository.requests import Source
from gristmill.sources.schemas import NAME, NewSource, SourceChange, source_body
from gristmill.sources.states import SourceState

_SAMPLE_BYTES = 1024 * 1024


class SourceService:
    def __init__(
        self, database: Database, datasets: DatasetLookup, kinds: SourceKinds, ingest: RecordIngest, spool: Spool
    ) -> None:
        self._database = database
        self._datasets = datasets
        self._kinds = kinds
        self._ingest = ingest
        self._spool = spool

    def kinds(self) -> dict[str, Any]:
        return {"source_kinds": self._kinds.as_json()}

    def create(self, body: bytes, principal: str, key: str | None) -> dict[str, Any]:
        """Create a source and return it. key: names the request, which creates it once: Idempotency-Key and a digest.

        Raises Malformed, Invalid with the pointer of each mistake, UnknownDataset, DatasetFailed, SourceExists.
        """
        given = read_body(NewSource, body)
        _check_labels(given.labels)
        kind = self._kinds.check(given.kind, given.settings)
        with self._database.autocommit() as connection:
            dataset = self._datasets.get(connection, given.dataset)
        self._check_sample(kind, dataset)
        values = {
            "id": uuid7(),
            "name": given.name,
            "kind": given.kind,
            "settings": kind.settings.model_dump(mode="json"),
            "dataset_id": dataset.id,
            "labels": given.labels,
            "priority": given.priority,
            "state": given.state,
            "created_by": principal,
            "created_key": key,
        }
        with self._database.transaction() as connection:
            made = repository.insert(connection, values)
            if made is None:
                made = self._find(connection, given.name)
                if key is None or (made.created_by, made.created_key) != (principal, key):
                    raise SourceExists(f"There is a source {given.name} already; it is of the kind {made.kind}")
            repository.notify(connection)
            return self._body(connection, made)

    def list(self, dataset: str | None, state: str | None, page_size: int, page_token: str | None) -> dict[str, Any]:
        """Return a page of sources in the order of their names. Raises UnknownDataset, Malformed for a bad token."""
        query, after = f"sources of {dataset} {state}", ""
        if page_token is not None:
            (after,) = read_page_token(page_token, query, str)
            if not NAME.fullmatch(after):
                raise bad_page_token()
        with self._database.autocommit() as connection:
            chosen = None if dataset is None else self._datasets.find(connection, dataset).id
            found = repository.list_sources(connection, after, page_size + 1, chosen, state)
            page = found[:page_size]
            names = self._datasets.names(connection, [one.dataset_id for one in page])
        token = encode_page_token([page[-1].name], query) if len(found) > page_size else None
        bodies = [source_body(one, names.get(one.dataset_id, (None, True))[0]) for one in page]
        return {"sources": bodies, "next_page_token": token}

    def get(self, name: str) -> dict[str, Any]:
        """Return a source. Raises UnknownSource."""
        with self._database.autocommit() as connection:
            return self._body(connection, self._find(connection, name))

    def change(self, name: str, body: bytes) -> dict[str, Any]:
        """Pause or resume a source, or change its settings, labels or priority; return it.

        From then on nothing is submitted under what was before. Raises UnknownSource, SourceNotRunning, UnknownDataset,
        Malformed, Invalid.
        """
        given = read_body(SourceChange, body)
        _check_labels(given.labels or {})
        with self._database.transaction() as connection:
            found = self._find(connection, name, lock=True)
            values = self._changed(connection, found, given)
            if any(getattr(found, member) != value for member, value in values.items()):
                found = repository.change(connection, found, values)
                repository.notify(connection)
            return self._body(connection, found)

    def delete(self, name: str) -> None:
        """Delete a source: nothing of it is submitted from now on. What was, stays. Raises UnknownSource."""
        with self._database.transaction() as connection:
            if not NAME.fullmatch(name) or not repository.delete(connection, name):
                raise UnknownSource(f"There is no source {name[:80]!r}")
            repository.notify(connection)

    def _changed(self, connection: Connection, found: Source, given: SourceChange) -> dict[str, Any]:
        if given.state == "paused" and found.state not in (SourceState.RUNNING, SourceState.PAUSED):
            raise SourceNotRunning(f"The source {found.name} is {found.state}: only one that runs can be paused")
        settings = found.settings
        if given.settings is not None:
            merged = {**found.settings, **given.settings}
            # Null takes a setting back to its default.
            merged = {name: value for name, value in merged.items() if given.settings.get(name, value) is not None}
            kind = self._kinds.check(found.kind, merged)
            settings = kind.settings.model_dump(mode="json")
            name, dropped = self._datasets.names(connection, [found.dataset_id]).get(found.dataset_id, ("", True))
            if not dropped:
                self._check_sample(kind, self._datasets.get(connection, name))
        return {
            "state": given.state or found.state,
            "settings": settings,
            "labels": found.labels if given.labels is None else given.labels,
            "priority": found.priority if given.priority is None else given.priority,
        }

    def _find(self, connection: Connection, name: str, *, lock: bool = False) -> Source:
        found = repository.find(connection, name, lock=lock) if NAME.fullmatch(name) else None
        if found is None:
            raise UnknownSource(f"There is no source {name[:80]!r}")
        return found

    def _body(self, connection: Connection, source: Source) -> dict[str, Any]:
        names = self._datasets.names(connection, [source.dataset_id])
        return source_body(source, names.get(source.dataset_id, (None, True))[0])

    def _check_sample(self, kind: AnyKind, dataset: Dataset) -> None:
        """Refuse a dataset whose contract does not take what the kind emits. Raises Invalid with the fields."""
        sample = kind.sample()
        if sample is None:
            return
        body = BodySpool(self._spool, _SAMPLE_BYTES, None)
        try:
            body.write(to_json(sample))
            self._ingest.validate(dataset.name, body, NDJSON, pipeline=True)
        except Invalid as error:
            found = [
                Violation(
                    "/dataset", one.code, f"A record such as {dict(sample)} does not fit: {one.reason}", field=one.field
                )
                for one in error.violations
            ]
            reason = f"What the kind {kind.name} emits does not fit the contract of {dataset.name}"
            shown = found[0].reason if found else error.detail
            raise Invalid(f"{reason}: {shown}", found) from error
        finally:
            body.close()


def _check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that jobs cannot have. Raises Invalid."""
    for name, value in labels.items():
        pointer = pointer_to(["labels", name])
        if name == submit.LABEL:
            reason = f"the label {name} is that of the source's name: choose another one"
            raise Invalid(reason, [Violation(pointer, "bad_label", reason, field=name)])
        if not is_label(name, value):
            reason = f"the label {name!r:.80}={value!r:.80} is not valid: give {LABEL}"
            raise Invalid(reason, [Violation(pointer, "bad_label", reason, field=name[:80])])
