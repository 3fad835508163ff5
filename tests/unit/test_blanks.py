"""Blanks are those of Python, of all of Unicode."""

import sys

from gristmill.transforms.formats.blanks import BLANKS


def test_they_are_all_that_python_takes_for_space() -> None:
    assert "".join(character for character in map(chr, range(sys.maxunicode + 1)) if character.isspace()) == BLANKS
