"""Finds kinds of steps by their name."""

from collections.abc import Iterable, Mapping
from typing import Any

from gristmill.transforms.spec import StepKind


class StepRegistry:
    """The kinds of steps that bootstrap registered. extras: of steps that are not installed, what they come with."""

    def __init__(self, kinds: Iterable[StepKind] = (), extras: Mapping[str, str] | None = None) -> None:
        self._extras = dict(extras or {})
        self._kinds: dict[str, StepKind] = {}
        for kind in kinds:
            if kind.op in self._kinds:
                raise ValueError(f"two kinds of steps are called {kind.op}")
            self._kinds[kind.op] = kind

    def names(self) -> list[str]:
        return sorted(self._kinds)

    def as_json(self) -> list[dict[str, Any]]:
        """Return what a list of the steps shows, in the order of their names."""
        return [self._kinds[name].as_json() for name in self.names()]

    def get(self, op: str) -> StepKind | None:
        return self._kinds.get(op)

    def extra_of(self, op: str) -> str | None:
        """Return the extra that the step comes with, where it is not installed."""
        return self._extras.get(op)
