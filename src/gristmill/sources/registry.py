"""The kinds of sources that there are, and their settings as users give them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract_checks import read_structure
from gristmill.kit.json_values import unstorable
from gristmill.sources.port import SourceKind

AnyKind = SourceKind[Any]


class SourceKinds:
    """The kinds that bootstrap registered."""

    def __init__(self, kinds: Iterable[type[AnyKind]] = ()) -> None:
        self._kinds: dict[str, type[AnyKind]] = {}
        for kind in kinds:
            if kind.name in self._kinds:
                raise ValueError(f"two kinds of sources are called {kind.name}")
            self._kinds[kind.name] = kind

    def names(self) -> list[str]:
        return sorted(self._kinds)

    def as_json(self) -> list[dict[str, Any]]:
        """Return what a list of the kinds shows, in the order of their names."""
        return [
            {"kind": name, "summary": kind.summary, "settings": kind.Settings.model_json_schema(mode="validation")}
            for name, kind in sorted(self._kinds.items())
        ]

    def check(self, name: str, settings: Mapping[str, Any]) -> AnyKind:
        """Return a kind with the settings that a user gives, as JSON.

        Raises Invalid naming the kind, or each setting that does not fit, by its pointer.
        """
        kind = self._kinds.get(name)
        if kind is None:
            reason = f"There is no kind of sources {name[:80]!r}; the kinds are: {', '.join(self.names())}"
            raise Invalid(reason, [Violation("/kind", "unknown_kind", reason, field="kind")])
        bad = [
            Violation(f"/settings{pointer}", code, f"{pointer or 'settings'}: {reason}")
            for pointer, code, reason in unstorable(dict(settings))
        ]
        if bad:
            raise Invalid(bad[0].reason, bad)
        found = read_structure(kind.Settings, dict(settings), "/settings")
        if isinstance(found, list):
            valid = f"the settings are: {', '.join(kind.Settings.model_fields)}"
            found = [
                replace(one, reason=f"{one.reason}; {valid}")
                if one.code == "unknown_member" and one.pointer.count("/") == 2
                else one
                for one in found
            ]
            shown = "; ".join(f"{one.pointer}: {one.reason}" for one in found[:3])
            raise Invalid(f"The settings do not fit the kind {name}: {shown}", found)
        return kind(found)
