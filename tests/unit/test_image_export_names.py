"""Names of exported files: safe, and of their own, whatever the keys are."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.datasets.contract import Contract
from gristmill.datasets.contract_parser import load_contract
from gristmill.images.export.chunk import ENTRY, csv_line, read_entries
from gristmill.images.export.names import file_stem, key_text
from gristmill.storage.names import parts_of

TEXT = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.text("aA1.%@~-_/", max_size=8),
    st.text("aAbB", min_size=140, max_size=170),
    st.sampled_from(["con", "CON", "nul.x", "lpt1", "..", ".", "", "%", "~", "a~1", "A", "com1"]),
)


def contract(*names: str) -> Contract:
    fields = [{"name": name, "type": "text", "required": True} for name in names]
    return load_contract({"name": "d", "fields": fields, "key": list(names)})


ONE, TWO = contract("a"), contract("a", "b")


def decoded(stem: str) -> str:
    """Return the key that a name was made of, where it is shown whole."""
    assert "~~" not in stem
    whole = stem.partition("~")[0]
    if whole == "%":
        return ""
    return re.sub(rb"%([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), whole.encode()).decode()


class TestNames:
    @given(TEXT)
    def test_a_name_is_safe_and_says_its_key(self, key: str) -> None:
        stem = file_stem(ONE, (key,))
        assert parts_of(f"images/{stem}.webp") == ("images", f"{stem}.webp")
        assert re.fullmatch(r"[A-Za-z0-9._%~-]+", stem)
        if "~~" not in stem:
            assert decoded(stem) == key

    @given(st.lists(TEXT, min_size=2, max_size=12, unique=True))
    def test_no_two_keys_have_one_name_also_where_capitals_do_not_count(self, keys: list[str]) -> None:
        stems = [file_stem(ONE, (key,)).lower() for key in keys]
        assert len(set(stems)) == len(keys)

    @given(st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=8, unique=True))
    def test_nor_do_two_keys_of_several_fields(self, keys: list[tuple[str, str]]) -> None:
        stems = [file_stem(TWO, key).lower() for key in keys]
        assert len(set(stems)) == len(keys)

    @given(st.text("abAB.", min_size=1, max_size=6), st.integers(0, 2**6))
    def test_keys_that_differ_in_capitals_have_names_that_differ_in_more(self, key: str, flips: int) -> None:
        other = "".join(one.swapcase() if flips >> place & 1 else one for place, one in enumerate(key))
        names = [file_stem(ONE, (one,)).lower() for one in (key, other)]
        assert (names[0] == names[1]) == (key == other)

    @pytest.mark.parametrize(
        ("key", "name"),
        [
            ("10001", "10001"), ("a-b_c.d", "a-b_c.d"), ("a/b", "a%2fb"), ("SKU-1", "SKU-1~7"), ("sKu", "sKu~2"),
            (".x", "%2ex"), ("..", "%2e."), ("con", "%63on"), ("CON", "CON~7"), ("", "%"), ("é", "%c3%a9"),
        ],
    )  # fmt: skip
    def test_what_they_look_like(self, key: str, name: str) -> None:
        assert file_stem(ONE, (key,)) == name

    def test_keys_of_several_fields_and_texts_of_keys(self) -> None:
        assert file_stem(TWO, ("a@b", "c")) == "a%40b@c"
        assert (key_text(ONE, ("a,b",)), key_text(TWO, ("é", '"'))) == ("a,b", '["é","\\""]')
        number = load_contract(
            {"name": "d", "fields": [{"name": "n", "type": "integer", "required": True}], "key": ["n"]}
        )
        assert (file_stem(number, (-5,)), key_text(number, (-5,))) == ("-5", "-5")


class TestLines:
    @pytest.mark.parametrize(
        ("cells", "line"),
        [
            (["a", None, ""], b'a,,""\n'),
            (['say "x"', "a,b"], b'"say ""x""","a,b"\n'),
            (["a\nb", "c\r"], b'"a\nb","c\r"\n'),
        ],
    )
    def test_null_is_empty_and_empty_text_is_quoted(self, cells: list[str | None], line: bytes) -> None:
        assert csv_line(cells) == line

    @given(
        st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), TEXT), max_size=6), st.integers(1, 9)
    )
    def test_entries_are_read_however_they_are_cut(self, entries: list[Any], piece: int) -> None:
        data = b""
        for size, crc, name in entries:
            data += ENTRY.pack(size, crc, len(name.encode())) + name.encode()
        pieces = (data[at : at + piece] for at in range(0, len(data), piece))
        assert list(read_entries(pieces)) == [tuple(entry) for entry in entries]
