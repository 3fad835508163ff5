"""Sources: what submits records to a dataset continuously."""

from collections.abc import Iterator, Mapping
from typing import Any

from gristmill.client._bodies import json_body
from gristmill.client._jobs import JobCalls
from gristmill.client._paths import API, source_path
from gristmill.client._transport import Json, new_idempotency_key


class SourceCalls(JobCalls):
    """Create, list, look at, change, pause, resume and delete sources."""

    def source_kinds(self) -> list[Json]:
        """Return the kinds of sources, each with the JSON Schema of its ``settings``."""
        answer: list[Json] = self._transport.call("GET", f"{API}/source-kinds")["source_kinds"]
        return answer

    def create_source(
        self,
        name: str,
        kind: str,
        dataset: str,
        settings: Mapping[str, Any] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        paused: bool = False,
        idempotency_key: str | None = None,
    ) -> Json:
        """Create a source and return it; it runs from now on, unless it is created ``paused``.

        settings: as the kind has them. labels, priority: of its jobs. Raises InvalidRequest naming each setting that
        does not fit, and each field of the dataset that does not take what the kind emits; NotFound without the
        dataset; Conflict if the name is taken.
        """
        given = {
            "name": name,
            "kind": kind,
            "dataset": dataset,
            "settings": None if settings is None else dict(settings),
            "labels": None if labels is None else dict(labels),
            "priority": priority,
            "state": "paused" if paused else None,
        }
        body = json_body({member: value for member, value in given.items() if value is not None})
        key = idempotency_key or new_idempotency_key()
        answer: Json = self._transport.call("POST", f"{API}/sources", body=body, idempotency_key=key)
        return answer

    def sources(self, *, dataset: str | None = None, state: str | None = None) -> Iterator[Json]:
        """Yield sources in the order of their names. dataset, state: those of it, or in it, only."""
        return self._pages(f"{API}/sources", {"dataset": dataset, "state": state}, "sources")

    def source(self, name: str) -> Json:
        """Return a source: state, position, rate, lag, last error, what it waits for. Raises NotFound."""
        answer: Json = self._transport.call("GET", source_path(name))
        return answer

    def change_source(
        self,
        name: str,
        *,
        settings: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        state: str | None = None,
    ) -> Json:
        """Change a source and return it. It goes on from where it is.

        settings: those that change; one that is None has its default again. labels: all of them anew. state: "paused"
        or "running". Raises NotFound, InvalidRequest, and Conflict for pausing what does not run.
        """
        given = {
            "settings": None if settings is None else dict(settings),
            "labels": None if labels is None else dict(labels),
            "priority": priority,
            "state": state,
        }
        body = json_body({member: value for member, value in given.items() if value is not None})
        answer: Json = self._transport.call("PATCH", source_path(name), body=body)
        return answer

    def pause_source(self, name: str) -> Json:
        """Pause a source and return it: nothing more is submitted until it is resumed. Raises NotFound, Conflict."""
        return self.change_source(name, state="paused")

    def resume_source(self, name: str) -> Json:
        """Let a source go on that is paused, failed or finished, and return it. Raises NotFound."""
        return self.change_source(name, state="running")

    def delete_source(self, name: str) -> None:
        """Delete a source; the records that it brought stay. Raises NotFound."""
        self._transport.call("DELETE", source_path(name))
