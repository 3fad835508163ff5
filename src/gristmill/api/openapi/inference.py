"""Models of what an inference answers."""

from typing import Any

from pydantic import BaseModel, Field

from gristmill.core.errors import Violation


class ReadPart(BaseModel):
    """How much was looked at."""

    bytes: int = Field(description="of the body, once it is inflated")
    records: int
    complete: bool = Field(description="whether these are all records of the file")
    rejected: int = Field(description="records that cannot be read")


class ColumnEvidence(BaseModel):
    """Why a column of the file becomes the field that it becomes."""

    column: str
    field: str
    type: str
    because: str
    required: bool
    nulls: int
    distinct: int
    examples: list[str]


class Choice(BaseModel):
    """An answer that a question may get."""

    value: Any
    meaning: str


class OpenQuestion(BaseModel):
    """Something that the sample leaves open."""

    about: str
    question: str
    proposed: Any
    options: list[Choice]


class Inferred(BaseModel):
    """A proposed contract, and what it rests on."""

    contract: dict[str, Any] = Field(description="as `POST /datasets` takes it")
    format: str
    csv: dict[str, str] = Field(description="the parameters by which `POST …/records` reads the file, if it is CSV")
    read: ReadPart
    columns: list[ColumnEvidence]
    reasons: dict[str, str] = Field(description="why key, time field and embedding are what they are")
    questions: list[OpenQuestion]
    notes: list[str]
    errors: list[Violation] = Field(description="mistakes of records that cannot be read, the first of each")
