"""Steps as users write them, in pipelines and in views."""

import math
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, RootModel, model_serializer, model_validator
from pydantic_core import PydanticCustomError


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


class StepBody(BaseModel):
    """A step of a pipeline as users write it: its name ``op`` and whatever parameters that step has."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    op: str

    @model_validator(mode="after")
    def _is_json(self) -> Self:
        # A number such as 1e400 is read as infinity, which would be stored as null.
        if not _finite(self.__pydantic_extra__):
            raise PydanticCustomError("not_finite", "numbers are finite: one here is beyond 1.8e308")
        return self

    def as_json(self) -> dict[str, Any]:
        return {"op": self.op, **(self.__pydantic_extra__ or {})}

    @model_serializer
    def _serialise(self) -> dict[str, Any]:
        # Whole: a null in the parameters is a value.
        return self.as_json()


class Views(RootModel[dict[str, tuple[StepBody, ...]]]):
    """Pipelines that are run when they are read, by their names."""

    model_config = ConfigDict(frozen=True, strict=True)

    def __hash__(self) -> int:
        return hash(tuple(self.root))

    def steps(self, name: str) -> list[dict[str, Any]]:
        """Return the steps of a view. Raises KeyError."""
        return [step.as_json() for step in self.root[name]]
