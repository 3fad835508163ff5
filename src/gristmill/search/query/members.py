"""Members of a search that are single values, each checked by itself; what is wrong is added to ``violations``."""

import math
from typing import Any

from gristmill.core.errors import Violation
from gristmill.datasets.describe import shorten
from gristmill.datasets.embedding import LEAST_TARGET, MOST_TARGET
from gristmill.search.query.statements import Mode


def read_integer(body: dict[str, Any], name: str, high: int, violations: list[Violation]) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        violations.append(Violation(f"/{name}", "wrong_type", f"{shorten(value)} is not an integer", field=name))
    elif not 1 <= value <= high:
        violations.append(
            Violation(f"/{name}", "out_of_range", f"{shorten(value)} is not from 1 to {high}", field=name)
        )
    else:
        return value
    return None


def read_number(value: Any, pointer: str, name: str, violations: list[Violation]) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        violations.append(Violation(pointer, "wrong_type", f"{shorten(value)} is not a number", field=name))
    elif isinstance(value, int) and abs(value) > 2**53:
        violations.append(Violation(pointer, "out_of_range", f"{shorten(value)} is beyond any {name}", field=name))
    elif not math.isfinite(value):
        violations.append(Violation(pointer, "not_finite", f"{value} is not a finite number", field=name))
    else:
        return float(value)
    return None


def read_recall_target(body: dict[str, Any], mode: Mode, violations: list[Violation]) -> float | None:
    name, pointer = "recall_target", "/recall_target"
    if body.get(name) is None:
        return None
    value = read_number(body[name], pointer, name, violations)
    if value is None:
        return None
    if not LEAST_TARGET <= value <= MOST_TARGET:
        reason = f"{shorten(body[name])} is not from {LEAST_TARGET:g} to {MOST_TARGET:g}; exact finds all"
        violations.append(Violation(pointer, "out_of_range", reason, field=name))
    elif body.get("ef") is not None:
        reason = "ef is an effort by hand, recall_target has it chosen: give one of them"
        violations.append(Violation(pointer, "exactly_one", reason, field=name))
    elif mode == "text":
        reason = "recall_target does not apply to the mode text: every record that matches is ranked"
        violations.append(Violation(pointer, "not_applicable", reason, field=name))
    return value


def read_boolean(body: dict[str, Any], name: str, violations: list[Violation]) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        violations.append(
            Violation(f"/{name}", "wrong_type", f"{shorten(value)} is neither true nor false", field=name)
        )
    return value is True
