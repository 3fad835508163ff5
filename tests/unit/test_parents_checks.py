"""The rules of parents in a contract, seen beside other contracts."""

from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.parents.checks import MOST_PARENTS, check_parents


def _layer(number: int, above: str | None) -> Contract:
    key = {"name": "k", "type": "integer", "required": True}
    ups = [{"name": f"up{place}", "type": "integer"} for place in range(MOST_PARENTS)]
    parents = [] if above is None else [{"field": one["name"], "dataset": above} for one in ups]
    return load_contract({"name": f"l{number}", "fields": [key, *ups], "key": ["k"], "parents": parents})


def test_each_dataset_above_is_looked_at_once_however_many_ways_lead_to_it() -> None:
    layers = {f"l{number}": _layer(number, f"l{number - 1}" if number else None) for number in range(8)}
    asked: list[str] = []

    def find(name: str) -> Contract | None:
        asked.append(name)
        return layers.get(name)

    assert list(check_parents(layers["l7"], find)) == []
    assert len(asked) <= MOST_PARENTS * len(layers)
    layers["l0"] = _layer(0, "l7")
    circles = [found.reason for found in check_parents(layers["l7"], find)]
    assert circles[0] == "The parents would form a circle: l7 -> l6 -> l5 -> l4 -> l3 -> l2 -> l1 -> l0 -> l7"
