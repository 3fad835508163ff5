"""Finds kinds of steps by their name."""

from collections.abc import Iterable
from typing import Any

from gristmill.transforms.spec import StepKind


class StepRegistry:
    """The kinds of steps that bootstrap registered."""

    def __init__(self, kinds: Iterable[StepKind] = ()) -> None:
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
