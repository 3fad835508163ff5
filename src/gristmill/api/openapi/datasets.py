"""Models of datasets and their indexes in the OpenAPI document."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gristmill.api.openapi.problems import Problem
from gristmill.datasets.contract import Contract, FieldSpec, UnknownFields


class NewContract(Contract):
    """The contract of a new dataset."""


class FieldChange(BaseModel):
    """New limits and texts of a field: those that are named change, null lifts one. name: of a field that is there."""

    model_config = ConfigDict(extra="allow")

    name: str


class ContractChange(BaseModel):
    """A change of a contract: optional fields, limits that get wider, texts for people, how long records are kept."""

    add_fields: list[FieldSpec] | None = None
    alter_fields: list[FieldChange] | None = None
    unknown_fields: UnknownFields | None = Field(None, description="what becomes of members that are no fields")
    keep: str | None = Field(None, description="how long records are kept, such as 30d; null: for ever")
    title: str | None = None
    description: str | None = None


class Sizes(BaseModel):
    """Bytes on disk."""

    table_bytes: int
    toast_bytes: int
    index_bytes: int
    vector_index_bytes: int
    total_bytes: int


class Recall(BaseModel):
    """Share of the true nearest records that a search finds, measured on stored ones; null before the first measure."""

    value: float | None
    k: int
    target: float
    exact: bool
    samples: int
    measured_at: AwareDatetime | None


class Build(BaseModel):
    """An index build that goes on."""

    job: str | None
    phase: str
    fraction: float
    rows: int


class ExpectedBuild(Build):
    """expected_seconds: what the whole of it takes, from its beginning; null where nothing is known."""

    expected_seconds: float | None


class IndexState(BaseModel):
    """How much of a dataset has vector indexes."""

    segments: int
    sealed_rows: int
    tail_rows: int
    hold: bool
    building: Build | None
    recall: Recall | None


class Contribution(BaseModel):
    """What a graph gives to the k nearest of all graphs. share: for each k, the part of these that it holds.

    missed, error: for each k, at each ef, the part that it holds and a walk does not find. rows: of all graphs then.
    searches: that it was learnt by.
    """

    share: list[float]
    missed: list[list[float]]
    error: list[list[float]]
    rows: int
    searches: int


class Curve(BaseModel):
    """What a graph finds. recall, error: for each k, at each ef. walk_ms: how long a walk took, at each ef.

    contribution: null unless it was learnt together with those of all other graphs.
    """

    k: list[int]
    ef: list[float]
    recall: list[list[float]]
    error: list[list[float]]
    walk_ms: list[float]
    queries: int
    known_from: str
    contribution: Contribution | None
    learnt_at: AwareDatetime


class TargetEffort(BaseModel):
    """What a search for ten does to reach a target. ef: of the graph that needs most; walk_ms: of all graphs."""

    recall_target: float
    ef: int
    expected_recall: float
    reached: bool
    walk_ms: float | None


class DatasetLinks(BaseModel):
    """Paths of the calls about a dataset."""

    self_: str = Field(alias="self")
    records: str
    search: str
    jobs: str


class Dataset(BaseModel):
    """A dataset. index: null without an embedding. retention: null unless records are deleted by age."""

    id: str
    name: str
    state: str
    version: int
    change_pending: bool
    contract: Contract
    embedder_version: str | None
    rows: int | None
    rows_exact: bool
    sizes: Sizes | None
    index: IndexState | None
    retention: dict[str, Any] | None
    error: Problem | None
    created_at: AwareDatetime
    links: DatasetLinks


class DatasetPage(BaseModel):
    """Datasets in the order of their names."""

    datasets: list[Dataset]
    next_page_token: str | None


class Segment(BaseModel):
    """A range of records with an index of its own. storage: of the vectors in its graph: vector, halfvec or bit."""

    index: str
    state: str
    first: int
    last: int
    rows: int | None
    built_rows: int | None
    dead_share: float | None
    bytes: int | None
    storage: str
    parameters: dict[str, Any]
    built_at: AwareDatetime | None
    job: str | None
    curve: Curve | None


class NextStep(BaseModel):
    """What is built or merged next, and why."""

    step: str
    first: int
    rows: int
    why: str
    expected_seconds: float | None


class IndexReport(BaseModel):
    """The index of a dataset: its segments, what is built, what is due next and why, and what failed lately."""

    dataset: str
    segments: list[Segment]
    sealed_rows: int
    tail_rows: int
    building: ExpectedBuild | None
    next: NextStep | None
    waits_for: str | None
    hold: bool
    seal_rows: int
    memory_mb: int
    most_rows: int
    recall: Recall | None
    efforts: list[TargetEffort]
    proposal: str | None
    failures: list[dict[str, Any]]


class IndexChange(BaseModel):
    """hold: whether no index is built, so that a load has the whole machine."""

    model_config = ConfigDict(extra="forbid")

    hold: bool


class Version(BaseModel):
    """Name and version of the server."""

    name: str
    version: str


class Root(Version):
    """And the paths of everything."""

    links: dict[str, str]


class Health(BaseModel):
    """That it answers."""

    status: str


class FunctionParameter(BaseModel):
    """types: those that are taken. constant: it is written out. default: what it is where it is left out."""

    name: str
    types: list[str]
    constant: bool
    default: Any


class FunctionExample(BaseModel):
    expression: str
    value: Any


class FunctionInfo(BaseModel):
    """A function that expressions call."""

    name: str
    signature: str
    description: str
    parameters: list[FunctionParameter]
    examples: list[FunctionExample]


class FunctionList(BaseModel):
    functions: list[FunctionInfo]


class TransformExample(BaseModel):
    step: dict[str, Any]
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]


class TransformInfo(BaseModel):
    op: str
    description: str
    per_record: bool
    multiplies: bool
    parameters: dict[str, Any]
    examples: list[TransformExample]


class TransformList(BaseModel):
    transforms: list[TransformInfo]
