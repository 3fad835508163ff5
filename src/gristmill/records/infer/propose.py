"""A contract proposed for a sample: fields, steps, key, time field, filters, embedding; each with its evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract_checks import MAX_FIELDS
from gristmill.datasets.describe import shorten
from gristmill.datasets.input_checks import MAX_SENT_NAME
from gristmill.kit.time_zones import time_zones
from gristmill.records.infer.guess import Guess, guess
from gristmill.records.infer.names import field_names, text_name
from gristmill.records.infer.questions import AS_TEXT, Option, Question, bad_answer
from gristmill.records.infer.roles import (
    LONGEST_KEY,
    Seen,
    choose_embedded,
    choose_filters,
    choose_key,
    choose_time,
    key_candidates,
)
from gristmill.records.infer.sample import CELL, Sample, SampledColumn

UTC = "UTC"
_EXAMPLES = 3
_FEW = 10_000


@dataclass(slots=True)
class Proposal:
    """What is proposed. contract: as ``POST /datasets`` takes it. columns: the evidence for each column of the file.

    reasons: why key, time field and embedding are what they are. notes: what a reader has to know besides.
    """

    contract: dict[str, Any]
    columns: list[dict[str, Any]]
    reasons: dict[str, str]
    questions: list[Question]
    notes: list[str] = field(default_factory=list)


def propose(name: str, sample: Sample, answers: Mapping[str, Any], embeds: bool) -> Proposal:
    """Return the contract ``name`` for what was read. answers: to questions, by what they are about.

    embeds: an embedder of texts is installed. Raises Invalid for a file that no contract fits, and for answers to what
    is no question, or that are none of its options.
    """
    if not sample.columns:
        reason = f"The body has no record that can be read, in {sample.bytes} bytes"
        first = f": {sample.violations[0].reason}" if sample.violations else ""
        violations = [*sample.violations] or [Violation("", "empty", reason)]
        raise Invalid(f"{reason}{first}", violations, max(1, sample.rejected))
    _check_columns(sample)
    maker = _Maker(name, sample, dict(answers), embeds)
    return maker.make()


class _Maker:
    def __init__(self, name: str, sample: Sample, answers: dict[str, Any], embeds: bool) -> None:
        self._name, self._sample, self._answers, self._embeds = name, sample, answers, embeds
        self._names = field_names([column.sent for column in sample.columns])
        self._taken = {*self._names, *(column.sent for column in sample.columns)}
        self._questions: list[Question] = []
        self._open: set[str] = set()
        self._zone = self._chosen_zone()

    def make(self) -> Proposal:
        for question in self._sample.questions:
            if question.about == "encoding":
                self._ask_free(question)
            else:
                self._ask(question)
        guesses = [self._guess(column, name) for column, name in zip(self._sample.columns, self._names, strict=True)]
        seen = [
            _seen(column, name, made)
            for column, name, made in zip(self._sample.columns, self._names, guesses, strict=True)
        ]
        reasons: dict[str, str] = {}
        self._ask_zone([one.name for one, made in zip(seen, guesses, strict=True) if made.naive])
        self._ask_null(guesses, seen)
        key = self._key(seen, reasons)
        time = self._time(seen, reasons)
        filters = choose_filters([one for one in seen if one.name not in key], self._sample.records)
        embedded = choose_embedded(seen) if self._embeds else {}
        reasons.update({f"embedding:{one}": why for one, why in embedded.items()})
        unknown = self._answers.keys() - self._open
        if unknown:
            about = sorted(unknown)[0]
            asked = ", ".join(sorted(self._open)) or "none"
            reason = f"{shorten(about)} is no question about this sample; they are: {asked}"
            raise bad_answer(reason)
        contract: dict[str, Any] = {"name": self._name}
        fields, inputs, steps = self._fields(guesses, seen, key, filters)
        if steps:
            contract["input"] = inputs
        contract["fields"] = fields
        if key:
            contract["key"] = key
        if time is not None:
            contract["time_field"] = time
        if self._sample.left_out:
            contract["unknown_fields"] = "ignore"
        if steps:
            contract["pipeline"] = steps
        if embedded:
            contract["embedding"] = {"from": list(embedded)}
        columns = self._evidence(guesses, seen, fields, filters)
        return Proposal(contract, columns, reasons, self._questions, self._notes())

    def _guess(self, column: SampledColumn, name: str) -> Guess:
        if column.declared is not None:
            naive = "zone" in column.declared
            body = {**column.declared, **({"zone": self._zone} if naive else {})}
            return Guess(body, "the file's schema says so", naive=naive)
        made = guess(column, self._answers, name, self._zone, self._sample.dialect)
        if made.question is not None:
            self._ask(made.question)
        return made

    def _ask(self, question: Question) -> Any:
        """Note a question unless it was answered; return the answer, or what is proposed. Raises Invalid."""
        self._open.add(question.about)
        if question.about not in self._answers:
            self._questions.append(question)
            return question.proposed
        value = self._answers[question.about]
        if value not in [one.value for one in question.options]:
            valid = ", ".join(shorten(one.value) for one in question.options)
            reason = f"{shorten(value)} is no answer about {question.about}; they are: {valid}"
            raise bad_answer(reason)
        return value

    def _chosen_zone(self) -> str:
        zone = self._answers.get("zone", UTC)
        if not isinstance(zone, str) or zone not in time_zones():
            reason = f"{shorten(zone)} is not an IANA time zone such as Europe/Berlin"
            raise bad_answer(reason, "unknown_zone")
        return zone

    def _ask_free(self, question: Question) -> None:
        """Note a question to which more answers are valid than it lists, unless it was answered."""
        self._open.add(question.about)
        if question.about not in self._answers:
            self._questions.append(question)

    def _ask_zone(self, names: Sequence[str]) -> None:
        if names:
            text = f"In which time zone are the times of {', '.join(names[:10])} meant, which have no offset?"
            options = [Option(UTC, "UTC"), Option("Europe/Berlin", "the clocks of a place, by its IANA name")]
            self._ask_free(Question("zone", text, UTC, options))

    def _ask_null(self, guesses: Sequence[Guess], seen: Sequence[Seen]) -> None:
        """Ask whether what stands for null in some columns of CSV does so in columns of texts too."""
        if self._sample.dialect.null is not None:
            self._open.add("null")
            return
        nulls = {text for made in guesses if made.cast is not None for text in made.cast.get("nulls", ()) if text}
        for column, made, one in zip(self._sample.columns, guesses, seen, strict=True):
            is_text = made.body["type"] == "text" and column.kinds[CELL]
            if not is_text or column.values is None or column.longest > LONGEST_KEY:
                continue
            found = pc.sum(pc.is_in(column.values, value_set=pa.array(sorted(nulls), pa.string()))).as_py()
            if found:
                text = f"{one.name} has {found} texts that stand for null in other columns, {', '.join(sorted(nulls))}"
                options = [Option(null, f"{null} is null in all columns") for null in sorted(nulls)]
                options.append(Option(AS_TEXT, "in columns of texts it stays a text"))
                self._ask(Question("null", f"{text}: are they null there too?", AS_TEXT, options))
                return

    def _key(self, seen: Sequence[Seen], reasons: dict[str, str]) -> list[str]:
        key, reasons["key"], question = choose_key(seen, self._sample)
        if question is not None:
            answer = self._ask(question)
            return [] if answer is None else [answer]
        if "key" in self._answers:
            # Where one is plain it may still be refused, or another one chosen.
            self._open.add("key")
            given = self._answers["key"]
            valid = [one.name for one in key_candidates(seen)]
            if given is not None and given not in valid:
                reason = f"{shorten(given)} cannot be the key: of one field each, fit are: {', '.join(valid) or 'none'}"
                raise bad_answer(reason)
            return [] if given is None else [given]
        return key

    def _time(self, seen: Sequence[Seen], reasons: dict[str, str]) -> str | None:
        time, reasons["time_field"], question = choose_time(seen)
        if question is None and time is not None and "time_field" in self._answers:
            # One that is plain may still be refused.
            question = Question("time_field", reasons["time_field"], time, [Option(time, ""), Option(None, "")])
        if question is not None:
            answer: str | None = self._ask(question)
            return answer
        return time

    def _fields(
        self, guesses: Sequence[Guess], seen: Sequence[Seen], key: Sequence[str], filters: Mapping[str, str]
    ) -> tuple[list[dict[str, Any]], list[Any], list[dict[str, Any]]]:
        fields: list[dict[str, Any]] = []
        inputs: list[Any] = []
        steps: list[dict[str, Any]] = []
        for column, made, one in zip(self._sample.columns, guesses, seen, strict=True):
            sent_as = {} if column.sent == one.name else {"sent_as": column.sent}
            body: dict[str, Any] = {"name": one.name, **made.body}
            # What the sample alone has need not be so in the rest of the file.
            if one.name in key or (one.complete and self._sample.whole and made.cast is None):
                body["required"] = True
            if one.name in filters:
                body["filterable"] = True
            if made.cast is None:
                fields.append({**body, **sent_as})
                inputs.append(one.name)
                continue
            text = text_name(one.name, self._taken)
            self._taken.add(text)
            inputs.append({"name": text, "type": "text", "sent_as": column.sent})
            fields.append({**body, "computed": True})
            steps.append({"op": "cast", "column": text, "as": one.name, **made.cast})
        return fields, inputs, steps

    def _evidence(
        self,
        guesses: Sequence[Guess],
        seen: Sequence[Seen],
        fields: Sequence[dict[str, Any]],
        filters: Mapping[str, str],
    ) -> list[dict[str, Any]]:
        return [
            {
                "column": column.sent,
                "field": one.name,
                "type": made.body["type"],
                "because": made.because + (f"; {filters[one.name]}" if one.name in filters else ""),
                "required": bool(body.get("required")),
                "nulls": one.nulls,
                "distinct": one.distinct,
                "examples": _examples(column),
            }
            for column, made, one, body in zip(self._sample.columns, guesses, seen, fields, strict=True)
        ]

    def _notes(self) -> list[str]:
        notes = []
        renamed = [one.sent for one, name in zip(self._sample.columns, self._names, strict=True) if one.sent != name]
        if renamed:
            shown = ", ".join(shorten(one) for one in renamed[:10]) + (", …" if len(renamed) > 10 else "")
            notes.append(f"headers that are no names of fields get one, and records may be sent by either: {shown}")
        if not self._sample.records and not self._sample.rejected and self._sample.columns[0].values is not None:
            notes.append("there is no record: nothing says what the fields are, and texts are proposed")
        for column, kind in self._sample.left_out.items():
            notes.append(f"the column {shorten(column)} is left out: no field takes the type {kind}")
        if self._sample.rejected:
            first = self._sample.violations[0]
            notes.append(f"{self._sample.rejected} records cannot be read, the first because: {first.reason}")
        return notes


def _seen(column: SampledColumn, name: str, made: Guess) -> Seen:
    values = column.values
    if values is None:
        return Seen(name, made.body["type"], None, 0, 0, 0, 0, made.cast is None)
    # Of long texts some are looked at: nobody filters by them, and they are no key.
    looked_at = values if column.longest <= LONGEST_KEY else values.slice(0, _FEW)
    try:
        distinct = int(pc.count_distinct(looked_at, mode="only_valid").as_py())
    except pa.ArrowNotImplementedError:
        # Lists of numbers.
        distinct = len(values) - values.null_count
    given = len(looked_at) - looked_at.null_count
    return Seen(name, made.body["type"], values, values.null_count, distinct, given, column.longest, made.cast is None)


def _examples(column: SampledColumn) -> list[str]:
    if column.values is None:
        return []
    shown: dict[str, None] = {}
    for value in column.values.slice(0, 1000):
        if value.is_valid and len(shown) < _EXAMPLES:
            shown[str(value)[:80]] = None
    return list(shown)


def _check_columns(sample: Sample) -> None:
    if len(sample.columns) > MAX_FIELDS:
        reason = f"There are {len(sample.columns)} columns: a dataset has at most {MAX_FIELDS} fields"
        raise Invalid(reason, [Violation("", "too_many", reason)])
    long = next((one.sent for one in sample.columns if len(one.sent) > MAX_SENT_NAME), None)
    if long is not None:
        reason = f"The header {shorten(long)} has {len(long)} characters: at most {MAX_SENT_NAME} are allowed"
        raise Invalid(reason, [Violation("", "too_long", reason)])
