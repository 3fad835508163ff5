"""What the pages say can be followed: links lead somewhere, every promise names tests that carry its mark."""

import importlib.util
import re
from pathlib import Path

import pytest
from benchmarks.report_markdown import BEGIN, END

from gristmill.plugin import JobType

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
_PROMISE = re.compile(r"^\| (\d) \| \*\*.*\|(.*)\|$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_to_a_file(page: Path) -> None:
    missing = [
        link for link in _LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).resolve().exists()
    ]
    assert not missing


def test_the_readme_names_tests_for_all_nine_promises_and_they_carry_the_mark() -> None:
    rows = dict(_PROMISE.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    assert sorted(rows) == [str(number) for number in range(1, 10)]
    for number, cell in rows.items():
        files = _LINK.findall(cell)
        assert files, f"promise {number} names no test"
        for file in files:
            assert f"mark.promise({number})" in (ROOT / file).read_text(encoding="utf-8"), f"{file}: {number}"


def test_the_readme_is_short_and_its_figures_are_those_of_the_page_of_performance() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 250
    shown = readme[readme.index("## Ten figures") : readme.index("## Where to read on")]
    rows = re.findall(r"^\| (?!what)[^|]+ \| ([^|]+) \|$", shown, re.MULTILINE)
    assert len(rows) == 10
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = page[page.index(BEGIN) : page.index("## What is missed")]
    assert END in table
    # A measured number has a decimal point, a thousands separator or a unit behind it; "p50" and "recall@10" are words.
    numbers = [number for row in rows for number in re.findall(r"(?<![\w@.])\d[\d.,]*\d(?![\w.])", row)]
    assert len(numbers) >= 10
    assert [number for number in numbers if not re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d])", table)] == []


def test_the_example_declares_a_job_type_and_needs_nothing_else() -> None:
    spec = importlib.util.spec_from_file_location("daily_weather", ROOT / "examples" / "daily_weather.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    declared = [one for one in vars(example).values() if isinstance(one, JobType)]
    assert [(one.name, one.dataset, one.exclusive) for one in declared] == [("weather.daily", "demo_weather", True)]
    assert not hasattr(example, "register")


def test_examples_and_test_plugins_import_the_stable_module_and_nothing_else_of_gristmill() -> None:
    plugins = [ROOT / "tests" / "support" / name for name in ("plugin.py", "own_jobs.py")]
    for file in [*(ROOT / "examples").glob("*.py"), *plugins]:
        imports = set(
            re.findall(r"^\s*(?:from|import) (gristmill[\w.]*)", file.read_text(encoding="utf-8"), re.MULTILINE)
        )
        assert imports == {"gristmill.plugin"}, file


def test_examples_of_applications_import_the_client_and_nothing_else_of_gristmill() -> None:
    for file in (ROOT / "examples").glob("*/*.py"):
        imports = re.findall(r"^\s*(?:from|import) (gristmill[\w.]*)", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(imports) <= {"gristmill.client"}, file
