"""How long records are kept: the text of a contract's ``keep``, and its place in contracts and their changes."""

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import alter_contract, parse_contract
from gristmill.datasets.retention_period import LONGEST, parse_retention_period

HOURS = {"h": 1, "d": 24, "w": 168}
EVENTS: dict[str, Any] = {
    "name": "events",
    "fields": [{"name": "at", "type": "timestamp"}, {"name": "n", "type": "integer"}],
    "time_field": "at",
}


def places(body: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        parse_contract(body)
    return [(place.pointer, place.code) for place in caught.value.violations]


class TestParsing:
    @given(number=st.integers(1, 9_999_999), unit=st.sampled_from("hdw"))
    def test_a_number_and_a_unit_stand_for_their_product(self, number: int, unit: str) -> None:
        text = f"{number}{unit}"
        if number * HOURS[unit] <= LONGEST / timedelta(hours=1):
            assert parse_retention_period(text) == timedelta(hours=number * HOURS[unit])
        else:
            with pytest.raises(ValueError, match="longer"):
                parse_retention_period(text)

    @given(one=st.sampled_from("hdw"), other=st.sampled_from("hdw"), number=st.integers(1, 500))
    def test_longer_units_keep_longer(self, one: str, other: str, number: int) -> None:
        order = HOURS[one] - HOURS[other]
        difference = parse_retention_period(f"{number}{one}") - parse_retention_period(f"{number}{other}")
        assert (difference > timedelta()) == (order > 0)

    @given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,8}[a-z]", fullmatch=True))
    def test_any_other_text_is_refused(self, text: str) -> None:
        if re.fullmatch(r"[1-9][0-9]*[hdw]", text) and int(text[:-1]) * HOURS[text[-1]] <= 876_600:
            assert timedelta() < parse_retention_period(text) <= LONGEST
        else:
            with pytest.raises(ValueError, match="such as 90d"):
                parse_retention_period(text)

    @pytest.mark.parametrize("text", ["", "d", "90", "0d", "-1d", "1.5d", "90 d", "90D", "1m", "٣d", "90d\n", "01d"])
    def test_what_looks_like_it_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="such as 90d"):
            parse_retention_period(text)


class TestContracts:
    def test_it_is_a_member_of_the_contract(self) -> None:
        contract = parse_contract({**EVENTS, "keep": "90d"})
        assert contract.keep == "90d"
        assert contract.as_json()["keep"] == "90d"
        assert "keep" not in parse_contract(EVENTS).as_json()

    def test_mistakes_have_their_place(self) -> None:
        assert places({**EVENTS, "keep": "soon"}) == [("/keep", "bad_keep")]
        assert places({**EVENTS, "keep": 90}) == [("/keep", "wrong_type")]
        without = {name: value for name, value in EVENTS.items() if name != "time_field"}
        assert places({**without, "keep": "90d"}) == [("/keep", "no_time_field")]

    def test_a_change_may_shorten_it_and_take_it_away(self) -> None:
        contract = parse_contract({**EVENTS, "keep": "90d"})
        assert alter_contract(contract, {"keep": "1h"}).keep == "1h"
        assert alter_contract(contract, {"keep": None}) == parse_contract(EVENTS)
        added = alter_contract(contract, {"add_fields": [{"name": "late", "type": "text"}]})
        assert added.keep == "90d", "a change of something else leaves it as it is"

    @pytest.mark.parametrize(
        ("change", "code"),
        [({"keep": "soon"}, "bad_keep"), ({"keep": 90}, "wrong_type"), ({"kept": "1d"}, "unknown_member")],
    )
    def test_a_wrong_change_is_refused(self, change: Any, code: str) -> None:
        with pytest.raises(Invalid) as caught:
            alter_contract(parse_contract(EVENTS), change)
        assert caught.value.violations[0].code == code

    def test_a_change_to_what_it_is_changes_nothing(self) -> None:
        with pytest.raises(Invalid, match="changes nothing"):
            alter_contract(parse_contract(EVENTS), {"keep": None})
