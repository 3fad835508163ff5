"""The notebook of the tour: all its cells run, against real processes, and what they show is so."""

import re
from typing import Any

import pytest
from tests.support import tour
from tests.support.system import System


@pytest.fixture(scope="module")
def taken(system: System) -> Any:
    return tour.run(system.url)


def cell(taken: Any, part: str) -> str:
    """Return what the one cell of code shows that contains ``part``."""
    (found,) = [text for source, text in tour.shown(taken).items() if part in source]
    return found


def test_frames_are_loaded_and_what_does_not_fit_is_named(taken: Any) -> None:
    assert re.search(r"'succeeded',.*'succeeded': 26115,.*'rejected': 0", cell(taken, "weather.csv"), re.DOTALL)
    assert "451.0 is not a finite number from -60 to 130" in cell(taken, "wrong = ")
    assert "10.94" in cell(taken, "cold = ")


def test_a_pipeline_drops_and_computes_and_an_airline_has_its_flights(taken: Any) -> None:
    assert re.search(r"'total': 1500,.*'dropped': 13", cell(taken, "airlines.csv"), re.DOTALL)
    assert "'mph': 453.7" in cell(taken, "expand=")
    assert "HNL" in cell(taken, "hawaiian = ")


def test_texts_are_found_by_what_they_mean(taken: Any) -> None:
    found = re.findall(r"\('(\w+)', 0\.\d+", cell(taken, "stdlib_module_names"))
    assert len(found) == 5
    assert {"tarfile", "lzma", "gzip"} & set(found[:3])


def test_a_schedule_has_its_times_and_runs_now(taken: Any) -> None:
    assert "At 06:30 on Monday through Friday" in cell(taken, "create_schedule")
    ran = re.search(r"'succeeded', \{'days': (\d+)\}, \{'schedule': 'tour-daily'\}", cell(taken, "run_schedule"))
    assert ran is not None
    # The three airports in 2013, and the days that other tests have written to the dataset.
    assert int(ran[1]) >= 1092


def test_it_draws_and_leaves_nothing_of_its_own_behind(taken: Any) -> None:
    assert tour.pictures(taken) == 3
    assert "tour_" not in cell(taken, "drop_dataset")


def test_the_page_shows_these_cells() -> None:
    page = tour.PAGE.read_text(encoding="utf-8")
    assert tour.sources(page) == [one.source.strip() for one in tour.read().cells if one.cell_type == "code"]
    assert page.count("![") == 3
