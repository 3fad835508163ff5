"""Models of records, filters and searches in the OpenAPI document."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from gristmill.core.errors import Violation
from gristmill.records.read import schemas

MAX_QUERIES = 100
_WHERE: Any = {"value": {"between": [0, 10]}, "or": [{"sensor": "a"}, {"sensor": {"prefix": "b-"}}]}


class Record(RootModel[dict[str, Any]]):
    """A record: members by the names of its dataset's fields."""


class RecordBatch(BaseModel):
    """Records within an object."""

    records: list[Record]


class Comparison(BaseModel):
    """What a field is compared with; several conditions must all hold."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    eq: Any = None
    ne: Any = None
    lt: Any = None
    le: Any = None
    gt: Any = None
    ge: Any = None
    in_: list[Any] | None = Field(None, alias="in")
    between: list[Any] | None = Field(None, min_length=2, max_length=2)
    contains: Any = None
    icontains: str | None = None
    starts_with: str | None = None
    prefix: str | None = None
    null: bool | None = None


class Where(BaseModel):
    """A filter. Each further member is the name of a field or the path of a member of a json field, with a value that
    it equals or a Comparison.

    All members must hold.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": _WHERE})
    __pydantic_extra__: dict[str, str | float | bool | Comparison | None]

    and_: list["Where"] | None = Field(None, alias="and")
    or_: list["Where"] | None = Field(None, alias="or")
    not_: "Where | None" = Field(None, alias="not")


class DeleteByFilter(BaseModel):
    """where: the filter; {} finds every record."""

    model_config = ConfigDict(extra="forbid")

    where: Where


class DeleteByKeys(BaseModel):
    """keys: up to 100,000; a key of several fields is a list of their values."""

    model_config = ConfigDict(extra="forbid")

    keys: list[Any] = Field(max_length=100_000)


class ChangeByFilter(BaseModel):
    """where: the filter; {} finds every record. changes: the members that each of them gets."""

    model_config = ConfigDict(extra="forbid")

    where: Where
    changes: Record


class RecordQuery(schemas.RecordQuery):
    """A page of records."""

    where: Where | None = None


class Selection(schemas.Selection):
    """Which records: those of the window that the filter finds."""

    where: Where | None = None


class DistinctQuery(schemas.DistinctQuery):
    """Whose values, of which records."""

    where: Where | None = None


class RecordPage(BaseModel):
    """Records in the order that was asked for. total: of all pages, where it was asked for."""

    records: list[Record]
    next_page_token: str | None
    total: int | None = None


class FoundRecords(BaseModel):
    """Records in the order of their keys. missing: the keys that no record has."""

    records: list[Record]
    missing: list[Any]


class Count(BaseModel):
    """How many records there are."""

    count: int


class ValueCount(BaseModel):
    """A value, and how many records have it."""

    value: Any
    count: int


class DistinctValues(BaseModel):
    """Distinct values in the order that was asked for."""

    values: list[ValueCount]
    next_page_token: str | None


class LatestRecords(BaseModel):
    """The newest records, newest first."""

    records: list[Record]


class Validation(BaseModel):
    """That all records fit."""

    valid: Literal[True]
    dataset: str
    version: int
    records: int
    rows: int | None = Field(None, description="that the pipeline makes of them, with `pipeline=true`")


class PreviewColumn(BaseModel):
    name: str
    type: str


class PreviewRow(BaseModel):
    """record: its place in the sample."""

    record: int
    row: dict[str, Any]


class PreviewFrame(BaseModel):
    """Rows between two steps; `rows_left_out` says how many more there are."""

    columns: list[PreviewColumn]
    rows: list[PreviewRow]
    rows_left_out: int


class PreviewStep(PreviewFrame):
    step: int
    op: str


class PreviewReject(BaseModel):
    record: int
    errors: list[Violation]


class Preview(BaseModel):
    """A sample before the first step, after each, and as it would be written."""

    dataset: str
    records: int
    input: PreviewFrame
    steps: list[PreviewStep]
    output: PreviewFrame
    rejects: list[PreviewReject]
    dropped: list[int] = Field(description="the places of the records that a filter took away")


class Weights(BaseModel):
    """Weights of the two rankings of a hybrid search."""

    vector: float | None = None
    text: float | None = None


class Query(BaseModel):
    """What is searched for: exactly one of them. like: the key of a stored record."""

    text: str | None = None
    vector: list[float] | str | None = Field(None, description="numbers; or bits, a string of 0 and 1")
    image: str | None = Field(None, description="the file of an image, at most 4 MiB, in base64")
    like: Any = None


class Search(Query):
    """A search: one of ``text``, ``vector``, ``image``, ``like`` and ``queries``, and options."""

    queries: list[Query] | None = Field(None, min_length=1, max_length=MAX_QUERIES)
    mode: Literal["vector", "text", "hybrid"] | None = None
    k: int | None = Field(None, ge=1, le=1000, description="hits; 10 without it")
    where: Where | None = None
    max_distance: float | None = None
    min_score: float | None = None
    page_size: int | None = Field(None, ge=1)
    page_token: str | None = None
    include: list[Literal["embedding"]] | None = None
    exact: bool | None = Field(None, description="compare every record")
    ef: int | None = Field(None, ge=1, le=1000, description="the effort by hand: more finds better")
    recall_target: float | None = Field(None, ge=0.9, le=0.999, description="the effort is chosen to reach it")
    weights: Weights | None = None
    explain: bool | None = None


class ImageSearch(BaseModel):
    """A form with the file of an image to search by. query: all other members of a search."""

    image: bytes
    query: Search | None = None


RecallSource = Literal["exact", "queries", "records", "assumed"]


class Ranks(BaseModel):
    """Places of a hit in the two rankings of a hybrid search, from 1; null where it is not in one."""

    vector: int | None
    text: int | None


class Hit(BaseModel):
    """A record that was found. distance, score, ranks: as the mode has them. key: where the dataset has one."""

    key: Any = None
    record: Record
    distance: float | None = None
    score: float | None = None
    ranks: Ranks | None = None


class Answer(BaseModel):
    """Hits, best first. complete: whether these are all that could be found; plan: the way that served them.

    ef, expected_recall, recall_known_from: not of the mode text. ef: null where every record was compared.
    """

    hits: list[Hit]
    k: int
    plan: str
    complete: bool
    ef: int | None = None
    expected_recall: float | None = None
    recall_known_from: RecallSource | None = None
    below_target_because: str | None = None
    next_page_token: str | None = None
    explain: dict[str, Any] | None = None
    query_vector: list[float] | str | None = None


class SearchAnswer(BaseModel):
    """The answer of one search, or ``answers`` in the order of ``queries``."""

    hits: list[Hit] | None = None
    k: int | None = None
    plan: str | None = None
    complete: bool | None = None
    ef: int | None = None
    expected_recall: float | None = None
    recall_known_from: RecallSource | None = None
    below_target_because: str | None = None
    next_page_token: str | None = None
    explain: dict[str, Any] | None = None
    query_vector: list[float] | str | None = None
    answers: list[Answer] | None = None
    took_ms: float
