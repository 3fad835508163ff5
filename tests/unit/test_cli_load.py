"""``gristmill load`` beside the server: names of datasets, answers on the command line, and the bars."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from gristmill.cli.load import name_of
from gristmill.cli.main import app
from gristmill.cli.output import Output
from gristmill.client import InvalidArgument
from gristmill.client._bodies import Body
from gristmill.client._samples import sample_body


class TestNames:
    @pytest.mark.parametrize(
        ("file", "name"),
        [
            ("Orders.csv", "orders"),
            ("Q1 Sales (final).csv.gz", "q1_sales_final"),
            ("2013-flights.parquet", "data_2013_flights"),
            ("価格.csv", "data"),
            ("a__b.ndjson", "a_b"),
            ("customerOrders.json", "customer_orders"),
        ],
    )
    def test_a_dataset_is_called_like_its_file(self, file: str, name: str) -> None:
        assert name_of(Path("/some/where") / file) == name


class TestCommandLine:
    def test_what_is_no_file_and_no_answer_is_refused_before_anything_is_sent(self, tmp_path: Path) -> None:
        missing = CliRunner().invoke(app, ["load", str(tmp_path / "none.csv")])
        assert missing.exit_code == 2
        assert "not a file that is there" in missing.stderr
        file = tmp_path / "a.csv"
        file.write_text("a\n1\n")
        answer = CliRunner().invoke(app, ["load", str(file), "--answer", "key"])
        assert answer.exit_code == 2
        assert "not QUESTION=ANSWER" in answer.stderr
        file = tmp_path / "a.doc"
        file.write_text("a\n1\n")
        assert CliRunner().invoke(app, ["load", str(file)]).exit_code == 2


class TestBars:
    @pytest.fixture(autouse=True)
    def terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a terminal of a known kind, as on a bare machine, nothing is drawn."""
        monkeypatch.setenv("TERM", "xterm")

    @staticmethod
    def output(file: io.StringIO) -> Output:
        output = Output(json=False)
        output._errors = Console(file=file, force_terminal=True, width=120)
        return output

    def test_what_is_sent_is_shown_with_its_rate(self) -> None:
        shown, data = io.StringIO(), b"x" * 5_000_000
        with self.output(shown).sending(io.BytesIO(data), len(data)) as file:
            assert file.seekable()
            assert file.seek(0, io.SEEK_END) == len(data)
            assert file.seek(0) == 0
            assert b"".join(iter(lambda: file.read(1_000_000), b"")) == data
            assert file.tell() == len(data)
        assert "5.0/5.0 MB" in shown.getvalue()
        assert "/s" in shown.getvalue()

    def test_records_are_shown_with_their_rate(self) -> None:
        shown = io.StringIO()
        job = {"record_counts": {"total": 1000}, "chunks": {"total": 4}, "state": "running"}
        with self.output(shown).progress("load") as on_progress:
            assert on_progress is not None
            for progress in (0.25, 0.5, 1.0):
                on_progress({**job, "progress": progress})
        assert "1000/1000" in shown.getvalue()
        assert "/s" in shown.getvalue()


class TestSamples:
    def test_of_a_parquet_file_that_is_too_long_the_footer_is_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gristmill.client._samples.MAX_SAMPLE", 20)
        raw = b"PAR1" + b"x" * 50 + b"footer" + (6).to_bytes(4, "little") + b"PAR1"
        with sample_body(io.BytesIO(raw), "parquet") as (body, partial):
            assert b"".join(body.pieces()) == b"PAR1footer\x06\0\0\0PAR1"
        assert partial
        for broken in (raw[:-1], raw.replace(b"\x06", b"\xff")):
            with (
                pytest.raises(InvalidArgument, match="no whole Parquet file"),
                sample_body(io.BytesIO(broken), "parquet"),
            ):
                pass

    def test_a_part_of_a_body_is_read_from_where_it_starts(self) -> None:
        file = io.BytesIO(b"0123456789")
        file.seek(2)
        assert Body(file, "text/csv").part(3, 4) == b"5678"
