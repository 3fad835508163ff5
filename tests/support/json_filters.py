"""Filters on members of json fields, and a plain reading of them that knows nothing of SQL."""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

# The paths that filters name, with the type that the member is declared as, or nothing.
PATHS: dict[str, str | None] = {
    "year": "number",
    "kind": "text",
    "ok": "boolean",
    "tags": None,
    "deep.er": None,
    r"a\.b": "text",
    r"back\\slash": None,
    "list.0": None,
    "list.-1.n": None,
    "": None,
}
_LONG = "x" * 254
SCALARS: list[Any] = [
    0, 1, 2020, -5, 1.5, 2020.0, 1e23, 2**70, 0.1, True, False,
    "", "a", "A", "ab", "b%_\\", "Straße", "STRASSE", "é", "1", "true", _LONG + "aa", _LONG + "ab", _LONG + "b",
]  # fmt: skip
_SHAPES: list[Any] = [[], {}, ["a", 1], [1, 1.0, True], {"n": 1}, {"n": None}, [["a"]], [{"n": 1, "m": 2}]]
_ANY = [*SCALARS, *_SHAPES]
DOCUMENTS: list[Any] = [
    *({"year": value, "kind": value, "ok": value} for value in (*SCALARS, None, [1], {"n": 1})),
    *({"tags": value, "deep": {"er": value}, "a.b": value, "back\\slash": value, "": value} for value in _ANY),
    *({"list": [value, {"n": value}], "year": 1} for value in SCALARS),
    {"deep": "er", "list": {"0": "a", "-1": {"n": 2}}},
    *_SHAPES,
    *SCALARS,
]
_OF_KIND = {"number": Decimal, "text": str, "boolean": bool}


def member_filters(field: str) -> st.SearchStrategy[Any]:
    """Filters on a json field and on its members."""
    null = st.booleans().map(lambda flag: {field: {"null": flag}})
    whole = st.sampled_from(_ANY).map(lambda value: {field: {"contains": value}})
    return (
        st.sampled_from(sorted(PATHS)).flatmap(lambda path: _conditions(f"{field}.{path}", PATHS[path])) | null | whole
    )


def _conditions(name: str, declared: str | None) -> st.SearchStrategy[Any]:
    kinds = [declared] if declared else ["number", "text", "boolean"]
    return st.sampled_from(kinds).flatmap(lambda kind: _of_kind(kind, declared is None)).map(lambda item: {name: item})


def _of_kind(kind: str, free: bool) -> st.SearchStrategy[Any]:
    value = st.sampled_from([one for one in SCALARS if isinstance(_plain(one), _OF_KIND[kind])])
    several = st.lists(st.sampled_from(SCALARS) if free else value, max_size=3)
    operators: dict[str, st.SearchStrategy[Any]] = {"eq": value, "ne": value, "in": several, "null": st.booleans()}
    if kind != "boolean":
        operators |= dict.fromkeys(("lt", "le", "gt", "ge"), value)
        operators["between"] = st.tuples(value, value).map(list)
    if kind == "text":
        operators |= dict.fromkeys(("contains", "icontains", "starts_with"), value)
    if free:
        shape = st.sampled_from(_SHAPES)
        operators |= {"contains": st.sampled_from(_ANY), "eq": value | shape, "ne": value | shape}
    chosen = st.lists(st.sampled_from(sorted(operators)), min_size=1, max_size=2, unique=True)
    return value | chosen.flatmap(lambda names: st.fixed_dictionaries({one: operators[one] for one in names}))


def member_holds(name: str, operator: str, value: Any, document: Any) -> bool | None:
    """Say whether the comparison holds: true, false, or None where it is unknown."""
    found, wanted = _plain(document), _plain(value)
    for step in _steps(name):
        if isinstance(found, dict):
            found = found.get(step)
        else:
            place = int(step) if isinstance(found, list) and step.lstrip("-").isdigit() else None
            found = found[place] if place is not None and -len(found) <= place < len(found) else None
    if operator == "null":
        return (found is None) is value
    if operator == "in":
        answers = [_scalar(found, "eq", one) for one in wanted]
        return True if True in answers else (None if None in answers else False)
    if operator == "contains":
        return None if found is None else _contains(found, wanted)
    return _scalar(found, operator, wanted)


def _steps(name: str) -> list[str]:
    _, divided, path = name.replace(r"\\", "\1").replace(r"\.", "\2").partition(".")
    return [step.replace("\1", "\\").replace("\2", ".") for step in path.split(".")] if divided else []


def _plain(value: Any) -> Any:
    """Numbers as decimals, which neither are booleans nor lose digits; a float is what it prints as, unless large."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return Decimal(value) if abs(value) >= 1e16 else Decimal(str(value))


def _scalar(found: Any, operator: str, wanted: Any) -> bool | None:
    first = wanted[0] if operator == "between" else wanted
    if type(found) is not type(first):
        return None
    answers = {
        "eq": lambda: found == wanted,
        "ne": lambda: found != wanted,
        "lt": lambda: found < wanted,
        "le": lambda: found <= wanted,
        "gt": lambda: found > wanted,
        "ge": lambda: found >= wanted,
        "between": lambda: wanted[0] <= found <= wanted[1],
        "icontains": lambda: wanted.casefold() in found.casefold(),
        "starts_with": lambda: found.startswith(wanted),
    }
    return bool(answers[operator]())


def _contains(found: Any, wanted: Any) -> bool:
    if isinstance(found, str) and isinstance(wanted, str):
        return wanted in found
    if isinstance(found, list) and not isinstance(wanted, list | dict):
        return any(type(one) is type(wanted) and one == wanted for one in found)
    return _covers(found, wanted)


def _covers(found: Any, wanted: Any) -> bool:
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, dict):
        return all(name in found and _covers(found[name], one) for name, one in wanted.items())
    if isinstance(wanted, list):
        return all(any(_covers(mine, one) for mine in found) for one in wanted)
    return bool(found == wanted)
