"""The job types that may be submitted over REST, and the plugins that this process has loaded or could not load."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gristmill.core.errors import Invalid, Violation
from gristmill.core.permissions import Permission
from gristmill.jobs.job_types.arguments import schema_of
from gristmill.jobs.job_types.declaration import JobType


@dataclass(frozen=True, slots=True)
class Plugin:
    """A module with job types. named_by: the setting, or the entry point. error: why it could not be loaded."""

    name: str
    named_by: str
    job_types: Sequence[str] = ()
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "named_by": self.named_by,
            "state": "loaded" if self.error is None else "failed",
            "job_types": list(self.job_types),
            "error": self.error,
        }


class Catalogue:
    """Job types by their names."""

    def __init__(self, job_types: Iterable[JobType], plugins: Sequence[Plugin], default_attempts: int) -> None:
        self._types: Mapping[str, JobType] = {one.name: one for one in sorted(job_types, key=lambda one: one.name)}
        self._plugins = plugins
        self.default_attempts = default_attempts
        # Schemas are the same for as long as the process lives.
        self._listed = [self._describe(one) for one in self._types.values()]

    def find(self, name: str) -> JobType:
        """Return the type. Raises Invalid that names those there are."""
        found = self._types.get(name)
        if found is None:
            known = ", ".join(self._types) or "none: no plugin declares one"
            reason = f"There is no job type {name[:100]!r} to submit; there are: {known}"
            raise Invalid(reason, [Violation("/type", "unknown_job_type", reason, field="type")])
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def permission_of(self, name: str) -> Permission | None:
        """Return the permission that a type says it needs, None for a type that is not submitted by its name."""
        return self._types[name].permission if name in self._types else None

    def as_json(self) -> dict[str, Any]:
        """Return the answer to a request for the list."""
        return {"job_types": self._listed, "plugins": [one.as_json() for one in self._plugins]}

    def _describe(self, one: JobType) -> dict[str, Any]:
        return {
            "name": one.name,
            "title": one.title,
            "description": one.description,
            "queue": one.queue,
            "permission": one.permission,
            "max_attempts": one.max_attempts or self.default_attempts,
            "idempotent": one.idempotent,
            "dataset": one.dataset,
            "exclusive": one.exclusive,
            "scopes": dict(one.scopes),
            "args": schema_of(one),
        }
