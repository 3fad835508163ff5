"""Finds kinds of steps by their name."""

from collections.abc import Iterable

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

    def get(self, op: str) -> StepKind | None:
        return self._kinds.get(op)
