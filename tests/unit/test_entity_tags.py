"""Entity tags are read as RFC 9110 writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import PreconditionFailed
from gristmill.kit.entity_tags import Tag, read_tags
from gristmill.records.etags import LastWrite, check_write, named_writes

VALUES = st.text(st.sampled_from([*map(chr, range(0x23, 0x7F)), "!", "ä"]))


@given(
    tags=st.lists(st.builds(Tag, VALUES, st.booleans()), min_size=1), comma=st.sampled_from([",", ", ", " ,\t", ",,"])
)
def test_a_list_is_read_as_it_was_written(tags: list[Tag], comma: str) -> None:
    assert read_tags(comma.join(map(str, tags))) == tuple(tags)
    assert read_tags(f",{comma.join(map(str, tags))}, ,") == tuple(tags)


def test_a_star_stands_for_any() -> None:
    assert read_tags(" * ") is None


@pytest.mark.parametrize("text", ["", "a", '"a', 'a"', '"a" "b"', 'w/"a"', 'W/ "a"', '"a", *', '"a b"'])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="there is no"):
        read_tags(text)


@given(seq=st.integers(0, 2**63 - 1), place=st.integers(0, 2**63 - 1), version=st.integers(1, 10**9 - 1))
def test_a_tag_names_the_write_that_it_was_made_of_whatever_the_version(seq: int, place: int, version: int) -> None:
    written = LastWrite(seq, place)
    for tag in (written.tag(version), written.tag(1)):
        assert named_writes([tag.value]) == [[seq, place]]
    check_write(written, named_writes(["x", written.tag(version).value]), 1, "k")
    for other in (LastWrite(seq + 1, place), LastWrite(seq, place + 1)):
        with pytest.raises(PreconditionFailed) as refused:
            check_write(other, [[seq, place]], version, "k")
        assert refused.value.extra["etag"] == str(other.tag(version))


def test_without_a_condition_any_write_will_do_and_with_foreign_tags_none() -> None:
    check_write(LastWrite(1, 0), named_writes(None), 1, "k")
    assert named_writes(["", "x", "1", "1.", "1.2.3.4", "-1.0"]) == []
    with pytest.raises(PreconditionFailed):
        check_write(LastWrite(1, 0), [], 1, "k")
