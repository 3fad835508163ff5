"""Steps as users write them, in pipelines and in views."""

from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel, model_serializer


class StepBody(BaseModel):
    """A step of a pipeline as users write it: its name ``op`` and whatever parameters that step has."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    op: str

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
