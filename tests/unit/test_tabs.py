"""Files with tabs between their cells become the CSV that has the same cells."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.client._tabs import read_as_csv
from gristmill.records.readers.csv_rows import read_rows

CELLS = st.text(st.sampled_from('ab,"\t\n\r é'), max_size=6)
ROWS = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=5)
)


def cells(text: str) -> list[list[str | None]]:
    body = b"".join(read_as_csv(io.BytesIO(text.encode())))
    return [row.cells or [row.broken] for row in read_rows(io.BytesIO(body))]


class TestTabs:
    @given(ROWS)
    def test_what_a_spreadsheet_writes_is_read_back(self, rows: list[list[str]]) -> None:
        out = io.StringIO(newline="")
        csv.writer(out, "excel-tab", quoting=csv.QUOTE_ALL).writerows(rows)
        assert cells(out.getvalue()) == rows

    @given(st.lists(st.lists(st.text(st.sampled_from('ab,"é '), min_size=1, max_size=6), min_size=2), min_size=1))
    def test_without_quotes_around_cells_each_character_is_itself(self, rows: list[list[str]]) -> None:
        plain = [[f"x{cell}" for cell in row] for row in rows]
        assert cells("".join("\t".join(row) + "\n" for row in plain)) == plain

    def test_an_empty_cell_is_null_and_a_quoted_one_is_not(self) -> None:
        assert cells('a\tb\tc\n\t""\t\n') == [["a", "b", "c"], [None, "", None]]

    def test_lines_keep_their_numbers(self) -> None:
        body = b"".join(read_as_csv(io.BytesIO(b'k\tv\n"a\nb"\t1\n\nc\t2')))
        assert [row.line for row in read_rows(io.BytesIO(body))] == [1, 2, 5]

    def test_a_quote_that_is_never_closed_is_refused(self) -> None:
        with pytest.raises(ValueError, match="never closed"):
            cells('a\tb\n"c\td\n')
