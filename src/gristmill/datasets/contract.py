"""The contract of a dataset as frozen values: fields, key, time field, embedding. ``contract_checks`` has the rules."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from gristmill.datasets.embedding import EmbeddingSpec, Metric, TextSearchSpec, VectorStorage
from gristmill.datasets.json_members import MemberType, split_path
from gristmill.datasets.parents.spec import ParentSpec
from gristmill.datasets.step_bodies import StepBody, Views

# The list of types: each name is that of a file in ``types/`` that holds all there is to know of the type.
TypeName = Literal[
    "text",
    "integer",
    "float",
    "decimal",
    "boolean",
    "timestamp",
    "date",
    "duration",
    "uuid",
    "json",
    "vector",
    "bits",
    "image",
]
UnknownFields = Literal["reject", "ignore", "collect"]
EMBEDDING_COLUMN = "_embedding"
TEXT_COLUMN = "_text"


class MemberSpec(BaseModel):
    """A member of a json field that filters compare often: it gets an index. path: names with dots between them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: str
    type: MemberType


class FieldSpec(BaseModel):
    """One field of a contract.

    minimum, maximum: inclusive bounds as JSON writes values of the type (strings for decimal, timestamp and date).
    max_length: characters of a text, None for 65,536. normalize: the normal form of Unicode that texts are brought into
    before anything else is checked; None leaves them as they are. precision, scale: digits of a decimal, as in SQL.
    zone: IANA zone of timestamps that come without an offset. dimensions: numbers in a vector, or bits.
    max_bytes: size of a decoded image, None for 1 MiB. stored_as: whether records have the bytes of an image or its
    path below the image folder; None for bytes. filterable: the field gets an index of its own.
    computed: the pipeline fills the field, and no client may send it. members: those of a json field that get indexes.
    sent_as: what clients may call the field in place of its name, such as the header of a column in their files.
    title, description, unit: for people. enum: the values that are valid, as JSON writes them; None for all that the
    type has. default: the value of a record that does not name the field; None for null.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    type: TypeName
    required: bool = False
    max_length: int | None = None
    normalize: Literal["NFC", "NFKC"] | None = None
    minimum: Any = None
    maximum: Any = None
    precision: int | None = None
    scale: int | None = None
    zone: str | None = None
    dimensions: int | None = None
    max_bytes: int | None = None
    stored_as: Literal["bytes", "path"] | None = Field(None, exclude_if=lambda value: value is None)
    filterable: bool = False
    # Left out of stored contracts where it says nothing, so that processes of the release before can read them.
    computed: bool = Field(False, exclude_if=lambda value: not value)
    members: tuple[MemberSpec, ...] = Field((), exclude_if=lambda value: not value)
    sent_as: str | None = Field(None, exclude_if=lambda value: value is None)
    title: str | None = None
    description: str | None = None
    unit: str | None = None
    enum: tuple[Any, ...] | None = None
    default: Any = None

    @cached_property
    def declared_members(self) -> dict[tuple[str, ...], MemberType]:
        """The types of the members, by the names of their paths."""
        return {split_path(member.path): member.type for member in self.members}

    def __eq__(self, other: object) -> bool:
        # To Python 1, 1.0 and true are one value, as the default of a json field they are three.
        return isinstance(other, FieldSpec) and super().__eq__(other) and repr(self.default) == repr(other.default)

    def __hash__(self) -> int:
        # A default may be an object or an array.
        return hash((self.name, self.type))

    def without_bounds(self) -> "FieldSpec":
        """Return the field without minimum, maximum and enum: what these are checked against, and filters and keys."""
        return self.model_copy(update={"minimum": None, "maximum": None, "enum": None})

    @property
    def must_be_given(self) -> bool:
        """Whether every record has to name the field, be it as null."""
        return self.required and self.default is None


class EmbeddingColumn(FieldSpec):
    """The column of the vectors that records are searched by: like a field of type vector, and fit for distances; or
    like one of type bits, which is what the storage bit keeps.

    metric, storage: as in EmbeddingSpec.
    """

    metric: Metric
    storage: VectorStorage

    @property
    def must_be_given(self) -> bool:
        # A record without a vector is found by no search: that has to be said, not to come of a misspelt member.
        return True


# The field of members that are no fields, where they are collected.
EXTRA_FIELD = FieldSpec(name="_extra", type="json")
EXTRA_COLUMN = EXTRA_FIELD.name
# The job's number and the record's place in the job: columns of every table.
SUBMISSION_COLUMNS = tuple(FieldSpec(name=name, type="integer", required=True) for name in ("_seq", "_ord"))


InputItem = Annotated[
    Annotated[FieldSpec, Tag("field")] | Annotated[str, Tag("name")],
    Discriminator(lambda item: "field" if isinstance(item, dict | FieldSpec) else "name"),
]
"""What clients send: the name of a field, or something that is not stored."""


class Contract(BaseModel):
    """A checked contract. Build it with ``contract_parser.parse_contract`` or, from storage, ``load_contract``.

    unknown_fields: members of a record that are no fields refuse it, are passed over, or are collected in ``_extra``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    input: tuple[InputItem, ...] | None = None
    fields: tuple[FieldSpec, ...]
    key: tuple[str, ...] = ()
    time_field: str | None = None
    keep: str | None = None
    unknown_fields: UnknownFields = Field("reject", exclude_if=lambda value: value == "reject")
    pipeline: tuple[StepBody, ...] = Field((), exclude_if=lambda value: not value)
    views: Views = Field(Views({}), exclude_if=lambda value: not value.root)
    parents: tuple[ParentSpec, ...] = Field((), exclude_if=lambda value: not value)
    embedding: EmbeddingSpec | None = None
    text_search: TextSearchSpec | None = None
    title: str | None = None
    description: str | None = None

    @cached_property
    def _by_name(self) -> dict[str, FieldSpec]:
        return {field.name: field for field in self.fields}

    @cached_property
    def _columns_by_name(self) -> dict[str, FieldSpec]:
        return {column.name: column for column in (*self.input_columns, *self.columns, *SUBMISSION_COLUMNS)}

    def field(self, name: str) -> FieldSpec:
        """Return the field called ``name``. Raises KeyError; ask ``has_field`` first for names that users wrote."""
        return self._by_name[name]

    def has_field(self, name: str) -> bool:
        return name in self._by_name

    @cached_property
    def embedding_column(self) -> EmbeddingColumn | None:
        """The column of the vectors that records are searched by, or None for a dataset without an embedding."""
        if self.embedding is None:
            return None
        return EmbeddingColumn(
            name=EMBEDDING_COLUMN,
            type="bits" if self.embedding.storage == "bit" else "vector",
            dimensions=self.embedding.dimensions,
            metric=self.embedding.metric,
            storage=self.embedding.storage,
        )

    @cached_property
    def columns(self) -> tuple[FieldSpec, ...]:
        """What the dataset stores of a record: the fields, then the vector that it is searched by."""
        return self.fields if self.embedding_column is None else (*self.fields, self.embedding_column)

    @cached_property
    def input_fields(self) -> tuple[FieldSpec, ...]:
        """What the pipeline starts from: the members of ``input``, or all fields that are not computed. Not _extra."""
        if self.input is None:
            return tuple(field for field in self.fields if not field.computed and field.name != EXTRA_COLUMN)
        listed = (self.field(item) if isinstance(item, str) else item for item in self.input)
        return tuple(field for field in listed if field.name != EXTRA_COLUMN)

    @cached_property
    def input_columns(self) -> tuple[FieldSpec, ...]:
        """What clients send of a record, the columns of payloads: ``input_fields``, then what no step sees."""
        extra = (self.field(EXTRA_COLUMN),) if self.has_field(EXTRA_COLUMN) else ()
        return self._with_vectors((*self.input_fields, *extra))

    @cached_property
    def output_columns(self) -> tuple[FieldSpec, ...]:
        """What is validated after the last step of the pipeline: the fields, then the vector if clients send it."""
        return self._with_vectors(self.fields)

    def _with_vectors(self, fields: tuple[FieldSpec, ...]) -> tuple[FieldSpec, ...]:
        column = self.embedding_column if self.takes_vectors else None
        return fields if column is None else (*fields, column)

    def column(self, name: str) -> FieldSpec:
        """Return the column called ``name``: one of ``columns`` or ``input_columns``, ``_seq`` or ``_ord``.

        Raises KeyError.
        """
        return self._columns_by_name[name]

    @cached_property
    def sent_names(self) -> dict[str, str]:
        """The names of input columns by what clients may call them besides."""
        return {column.sent_as: column.name for column in self.input_columns if column.sent_as is not None}

    @property
    def has_pipeline(self) -> bool:
        """Whether payloads have to become rows by more than being written."""
        return bool(self.pipeline) or self.input is not None

    @property
    def computed_fields(self) -> frozenset[str]:
        """Names of the fields that the pipeline fills."""
        return frozenset(field.name for field in self.fields if field.computed)

    @cached_property
    def parent_fields(self) -> frozenset[str]:
        """Names of the fields that hold the keys of parents; each has an index."""
        return frozenset(parent.field for parent in self.parents)

    @cached_property
    def above(self) -> Mapping[str, "Contract"]:
        """Contracts of the parents' datasets by the fields with the keys, where ``parents.above`` attached them."""
        return {}

    def is_indexed(self, field: FieldSpec) -> bool:
        """Whether the field has an index of its own."""
        return field.filterable or field.name in self.parent_fields

    @property
    def key_fields(self) -> tuple[FieldSpec, ...]:
        """The fields of the key in the order of the key; empty for a dataset without a key."""
        return tuple(self.field(name) for name in self.key)

    @property
    def vector_dimensions(self) -> int | None:
        """Length of the vectors in ``_embedding``, or None for a dataset without an embedding."""
        return None if self.embedding is None else self.embedding.dimensions

    @property
    def vector_storage(self) -> VectorStorage:
        """The type of ``_embedding`` in Postgres."""
        return "vector" if self.embedding is None else self.embedding.storage

    @property
    def takes_vectors(self) -> bool:
        """Whether clients supply the vectors, as the member ``_embedding`` of each record."""
        return self.embedding is not None and self.embedding.from_ is None

    def as_json(self) -> dict[str, Any]:
        """Return the contract as users write it: absent members are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def load_contract(body: dict[str, Any]) -> Contract:
    """Return the contract stored as ``body`` (made by ``Contract.as_json``), without checking it again."""
    return Contract.model_validate_json(json.dumps(body))
