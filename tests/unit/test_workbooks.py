"""Workbooks of Excel as the client reads them: what a cell becomes, which sheet, and what is refused."""

import csv
import datetime as dt
import io
import zipfile
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.workbooks import changed, csv_of, saved, workbook

from gristmill.client._workbook_cells import name_of
from gristmill.client.errors import InvalidArgument

SHEET = "xl/worksheets/sheet1.xml"
_CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))


class TestCells:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (1, "1"),
            (-3.0, "-3"),
            (1.5, "1.5"),
            (1e20, "1e+20"),
            (2**53 - 1, str(2**53 - 1)),
            (True, "true"),
            (False, "false"),
            ("007", "007"),
            ("  blanks ", "  blanks "),
            ('a "b", c', '"a ""b"", c"'),
            ("two\nlines", '"two\nlines"'),
            (dt.date(2026, 1, 31), "2026-01-31"),
            (dt.datetime(2026, 1, 31, 12, 30, 15), "2026-01-31T12:30:15"),
            (dt.time(8, 30), "08:30:00"),
            (dt.timedelta(hours=30), "PT108000S"),
            # Excel has no dates before 1900: they are texts there.
            ("1899-12-31", "1899-12-31"),
            (dt.date(1900, 3, 1), "1900-03-01"),
        ],
    )
    def test_each_is_written_as_contracts_take_it(self, value: Any, text: str) -> None:
        assert csv_of(workbook(["a"], [value])) == f"a\n{text}\n"

    def test_a_date_in_a_column_of_times_is_midnight(self) -> None:
        found = csv_of(workbook(["at"], [dt.datetime(2026, 1, 31, 8)], [dt.datetime(2026, 2, 1)]))
        assert found == "at\n2026-01-31T08:00:00\n2026-02-01T00:00:00\n"

    def test_rows_without_values_and_columns_without_header_and_values_are_left_out(self) -> None:
        book = openpyxl.Workbook()
        sheet = book.active
        sheet["C4"], sheet["E4"], sheet["C6"], sheet["E9"] = "a", "b", 1, 2
        assert csv_of(saved(book)) == "a,b\n1,\n,2\n"

    @given(
        st.lists(
            st.tuples(
                st.one_of(st.none(), st.integers(-(2**53) + 1, 2**53 - 1)),
                st.one_of(
                    st.none(),
                    # It takes such texts for formulas and errors.
                    st.text(_CHARACTERS, min_size=1).filter(lambda text: text[0] not in "=#"),
                ),
                st.one_of(st.none(), st.booleans()),
                st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
            ),
            max_size=20,
        )
    )
    def test_any_table_is_read_as_it_was_written(self, rows: list[tuple[Any, ...]]) -> None:
        found = list(csv.reader(io.StringIO(csv_of(workbook(["n", "t", "b", "f"], *rows)), newline="")))
        assert found[0] == ["n", "t", "b", "f"]
        kept = [row for row in rows if any(value is not None for value in row)]
        assert len(found) == len(kept) + 1
        for (number, text, flag, real), cells in zip(kept, found[1:], strict=True):
            assert cells[0] == ("" if number is None else str(number))
            assert cells[1] == (text or "")
            assert cells[2] == ("" if flag is None else str(flag).lower())
            # What writes the workbook here keeps 16 digits.
            assert (float(cells[3]) if cells[3] else None) == (None if real is None else float(f"{real:.16g}"))


class TestWhatIsLeftEmpty:
    def test_an_error_is_a_text(self) -> None:
        content = workbook(["a", "b"], [1, "#N/A"], ["#DIV/0!", 2])
        # As Excel writes them: openpyxl knows them by their texts.
        assert b't="e"' in zipfile.ZipFile(io.BytesIO(content)).read(SHEET)
        assert csv_of(content) == "a,b\n1,#N/A\n#DIV/0!,2\n"

    def test_an_error_is_one_where_cells_do_not_say_their_places(self) -> None:
        content = workbook(["a", "b"], [1, "#N/A"])
        for cell in ("A1", "B1", "A2", "B2"):
            content = changed(content, SHEET, f' r="{cell}"'.encode(), b"")
        assert csv_of(content) == "a,b\n1,#N/A\n"

    def test_a_formula_has_the_value_that_the_workbook_keeps(self) -> None:
        content = changed(workbook(["a"], ["=1+1"]), SHEET, b"<v />", b"<v>2</v>")
        assert csv_of(content) == "a\n2\n"

    def test_a_formula_of_an_empty_text_is_empty(self) -> None:
        content = workbook(["a", "b"], ['=""', 1])
        content = changed(content, SHEET, b'<c r="A2">', b'<c r="A2" t="str">')
        assert csv_of(content) == "a,b\n,1\n"

    def test_a_formula_that_nothing_has_computed_is_refused_by_its_place(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^B3 of 'Sheet' is a formula that nothing has computed"):
            csv_of(workbook(["a", "b"], [1, 2], [3, "=A2*2"]))


class TestSheets:
    def test_the_one_with_values_is_read_and_a_hidden_one_where_it_is_named(self) -> None:
        book = openpyxl.Workbook()
        book.active.title = "Empty"
        for name, value in (("Data", 1), ("Hidden", 2)):
            sheet = book.create_sheet(name)
            sheet.append(["a"])
            sheet.append([value])
        book["Hidden"].sheet_state = "hidden"
        assert csv_of(saved(book)) == "a\n1\n"
        assert csv_of(saved(book), "Hidden") == "a\n2\n"

    def test_several_with_values_have_to_be_chosen_from(self) -> None:
        content = workbook(sheets={"2025": [["a"]], "2026": [["b"]]})
        with pytest.raises(
            InvalidArgument, match=r"^2 sheets have values: '2025', '2026'; say which one: sheet='2025'"
        ):
            csv_of(content)
        assert csv_of(content, "2026") == "b\n"
        with pytest.raises(InvalidArgument, match=r"^there is no sheet '2027'; the sheets are: '2025', '2026'"):
            csv_of(content, "2027")

    def test_no_value_at_all(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^no sheet has a value; the sheets are: 'Sheet'"):
            csv_of(workbook())
        assert csv_of(workbook(), "Sheet") == ""


class TestRefused:
    def test_merged_cells_are_named(self) -> None:
        book = openpyxl.Workbook()
        book.active.append(["a", "b"])
        book.active.append([1, 2])
        book.active.merge_cells("A2:A3")
        with pytest.raises(InvalidArgument, match=r"^cells of 'Sheet' are merged: A2:A3\. A table has a cell for each"):
            csv_of(saved(book))

    def test_a_value_without_a_header(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^C3 of 'Sheet' has a value, and the header C1 is empty"):
            csv_of(workbook(["a", "b", None, "d"], [1, 2, None, 4], [1, 2, 3, 4]))

    def test_a_title_above_the_header(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^B3 of 'Sheet' has a value, and the header B1 is empty"):
            csv_of(workbook(["Sales of May"], [], ["a", "b"], [1, 2]))

    def test_two_headers_of_one_name(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^A1 and C1 of 'Sheet' are both 'a': rename one header"):
            csv_of(workbook(["a", "b", "a"], [1, 2, 3]))

    @pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PK\x03\x04 and no more", b"\x1f\x8b"])
    def test_what_is_no_workbook(self, content: bytes) -> None:
        with pytest.raises(InvalidArgument, match=r"^the file is no workbook of Excel"):
            csv_of(content)

    def test_a_zip_of_something_else(self) -> None:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as made:
            made.writestr("a.csv", "a\n1\n")
        with pytest.raises(InvalidArgument, match=r"^the file is no workbook that can be read"):
            csv_of(target.getvalue())

    def test_one_with_a_password_or_of_an_old_excel(self) -> None:
        # Both are such a container, in which an encrypted one has its parts.
        with pytest.raises(InvalidArgument, match=r"^the workbook is protected by a password, or of Excel before 2007"):
            csv_of(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(1000))

    def test_one_that_is_far_larger_unpacked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gristmill.client._workbooks._MOST_BYTES", 1000)
        with pytest.raises(InvalidArgument, match=r"^the workbook has [\d,]+ bytes unpacked, at most 1,000"):
            csv_of(workbook(["a"], [1]))

    @given(st.data())
    def test_a_damaged_one_is_refused_or_read(self, data: st.DataObject) -> None:
        content = bytearray(_SMALL)
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(content)))
        for one in (bytes(content), _SMALL[:cut]):
            try:
                csv_of(one)
            except InvalidArgument:
                continue


_SMALL = workbook(["a", "b"], [1, "#N/A"], [2, "x"])


@pytest.mark.parametrize(("place", "name"), [((0, 0), "A1"), ((9, 25), "Z10"), ((0, 26), "AA1"), ((2, 16383), "XFD3")])
def test_cells_are_called_as_excel_calls_them(place: tuple[int, int], name: str) -> None:
    assert name_of(*place) == name
