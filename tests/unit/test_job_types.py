"""What may be declared as a job type, what is refused with which words, and what a function may return."""

import datetime as dt
import json
import math
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, RootModel, SecretStr

from gristmill.core.errors import Invalid
from gristmill.jobs.errors import ResultNotStorable
from gristmill.jobs.job_types.arguments import check_arguments, schema_of
from gristmill.jobs.job_types.new_job import new_job
from gristmill.jobs.job_types.results import MOST_BYTES, encode_result
from gristmill.kit.json_values import DEEPEST, unstorable
from gristmill.plugin import JobRun, job_type


class Args(BaseModel):
    name: str = "x"
    other: str = "y"


class Everything(RootModel[list[int]]):
    pass


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Inner(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int = 0


class Outer(BaseModel):
    inner: Inner = Inner()
    secret: SecretStr = SecretStr("")
    since: AwareDatetime | None = None


def takes(run: JobRun, args: Args) -> dict[str, Any]:
    """Take some arguments.

    And say so.
    """
    return {"name": args.name}


class TestDeclare:
    def test_title_and_description_come_from_the_docstring(self) -> None:
        found = job_type("a.b")(takes)
        assert (found.title, found.description) == ("Take some arguments", "And say so.")
        other = job_type("a.b", title="Other", description="")(takes)
        assert (other.title, other.description) == ("Other", "")

    def test_a_declared_function_can_still_be_called(self) -> None:
        run: Any = None
        assert job_type("a.b")(takes)(run, Args(name="z")) == {"name": "z"}

    @pytest.mark.parametrize("name", ["plain", "A.b", "a..b", "a.b.", "a.1", "a b.c", "a.b" * 50, ""])
    def test_a_name_has_two_parts_or_more(self, name: str) -> None:
        with pytest.raises(ValueError, match=r"(?s)test_job_types\.takes.*reports\.daily"):
            job_type(name)(takes)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"queue": "fast"}, "the queues are: default, long"),
            ({"permission": "root"}, "none of read, write, admin"),
            ({"max_attempts": 0}, "1 to 100"),
            ({"shares": True, "idempotent": True}, "no transaction that it could share"),
            ({"scopes": {"a": "mine"}}, "shared and exclusive"),
            ({"dataset": "{nmae}"}, "there are: name, other"),
            ({"scopes": {"x:{name.upper}": "shared"}}, "names of arguments in braces"),
            ({"dataset": "{name!r}"}, "names of arguments in braces"),
            ({"dataset": "{"}, "not valid"),
        ],
    )
    def test_what_cannot_be_meant_is_named_with_what_is_valid(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said) as caught:
            job_type("a.b", **options)(takes)
        assert "test_job_types.takes" in str(caught.value)

    @pytest.mark.parametrize("errors", [Exception, BaseException, (ValueError, Exception), ("ValueError",)])
    def test_retry_on_names_exceptions_and_not_all_of_them(self, errors: Any) -> None:
        with pytest.raises(TypeError, match="name the classes"):
            job_type("a.b", retry_on=errors)(takes)

    def test_functions_of_another_shape_are_refused(self) -> None:
        async def asynchronous(run: JobRun) -> None: ...
        def generator(run: JobRun) -> Any:
            yield 1

        def none() -> None: ...
        def three(run: JobRun, args: Args, more: int) -> None: ...
        def untyped(run: JobRun, args) -> None: ...  # type: ignore[no-untyped-def]
        def no_model(run: JobRun, args: dict[str, Any]) -> None: ...
        def root(run: JobRun, args: Everything) -> None: ...
        def keyword(run: JobRun, *, args: Args) -> None: ...
        def unknown(run: JobRun, args: "Nowhere") -> None: ...  # noqa: F821 - what the test is about

        for function in (asynchronous, generator, none, three, untyped, no_model, root, keyword, unknown, Args):
            with pytest.raises(TypeError, match=r"The job type 'a\.b'"):
                job_type("a.b")(function)


class TestArguments:
    def test_unknown_members_are_refused_unless_the_model_says_otherwise(self) -> None:
        with pytest.raises(Invalid, match="nmae"):
            check_arguments(job_type("a.b")(takes), {"nmae": "x"})

        def open_(run: JobRun, args: Open) -> None: ...

        assert check_arguments(job_type("a.b")(open_), {"anything": 1}).model_extra == {"anything": 1}

        def outer(run: JobRun, args: Outer) -> None: ...

        declared = job_type("a.b")(outer)
        found = check_arguments(declared, {"inner": {"n": 1, "more": 2}})
        assert isinstance(found, Outer)
        assert found.inner.model_extra == {"more": 2}
        assert schema_of(declared)["additionalProperties"] is False

    def test_they_are_stored_as_they_were_sent(self) -> None:
        def outer(run: JobRun, args: Outer) -> None: ...

        sent = {"secret": "s3cret", "since": "2026-01-01T00:00:00+02:00"}
        assert new_job(job_type("a.b")(outer), sent).args == sent

    def test_scopes_and_attempts(self) -> None:
        declared = job_type("a.b", dataset="{name}", scopes={"dataset:{other}": "exclusive", "p": "shared"})(takes)
        job = new_job(declared, {"name": "one", "other": "two"}, default_attempts=7)
        assert (job.scope, job.exclusive, job.dataset, job.max_attempts) == ("dataset:one", False, "one", 7)
        assert job.further_scopes == {"dataset:two": True, "p": False}
        # Both name the same scope: the stricter one counts.
        job = new_job(declared, {"name": "one", "other": "one"}, 2)
        assert (job.exclusive, job.further_scopes, job.max_attempts) == (True, {"p": False}, 2)
        assert new_job(job_type("a.b", exclusive=True, max_attempts=3)(takes)).scope == "job_type:a.b"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip
RICH = st.datetimes(timezones=st.just(dt.UTC)) | st.decimals(allow_nan=False, allow_infinity=False) | st.uuids()


class TestResults:
    @given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), JSON))
    def test_json_comes_back_as_it_was(self, value: dict[str, Any]) -> None:
        found = encode_result(value)
        assert found == value
        assert json.loads(json.dumps(found, allow_nan=False)) == value

    @given(RICH)
    def test_times_decimals_and_ids_are_texts_that_say_the_same(self, value: Any) -> None:
        text = (encode_result({"v": value}) or {})["v"]
        assert isinstance(text, str)
        read = {dt.datetime: dt.datetime.fromisoformat, Decimal: Decimal, uuid.UUID: uuid.UUID}[type(value)]
        assert read(text) == value

    @given(
        JSON, st.lists(st.sampled_from(["a", "b/c", "~", 0]), max_size=4), st.sampled_from([math.nan, math.inf, "\0"])
    )
    def test_what_cannot_be_stored_is_found_at_any_depth(self, value: Any, path: list[Any], bad: Any) -> None:
        pointer = ""
        found: Any = bad
        for step in reversed(path):
            found = [found] if step == 0 else {str(step): found, "z": value}
            pointer = "/" + str(step).replace("~", "~0").replace("/", "~1") + pointer
        assert [place for place, _, _ in unstorable(found)] == [pointer]
        with pytest.raises(ResultNotStorable):
            encode_result({"r": found})

    def test_nothing_is_nothing_and_a_model_is_its_members(self) -> None:
        assert encode_result(None) is None
        assert encode_result(Args()) == {"name": "x", "other": "y"}

    def test_a_result_is_bounded_in_size_and_depth(self) -> None:
        assert encode_result({"t": "x" * (MOST_BYTES - 9)}) is not None
        with pytest.raises(ResultNotStorable, match="at most"):
            encode_result({"t": "x" * (MOST_BYTES - 8)})
        deep: Any = 1
        for _ in range(DEEPEST + 5):
            deep = [deep]
        with pytest.raises(ResultNotStorable, match="deep"):
            encode_result({"d": deep})
        circle: dict[str, Any] = {}
        circle["again"] = circle
        with pytest.raises(ResultNotStorable):
            encode_result(circle)
