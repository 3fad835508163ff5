"""The signature of a job type's function: ``(run)`` or ``(run, args: Model)``."""

import inspect
import typing
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel

_VALID = "(run: JobRun) or (run: JobRun, args: Model), Model being a pydantic BaseModel"


def model_of(function: Callable[..., Any]) -> type[BaseModel] | None:
    """Return the model of the function's arguments, None if it takes none. Raises TypeError that says what is valid."""
    if (
        not inspect.isfunction(function)
        or inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
    ):
        raise TypeError("it must be a plain function: neither async, nor a generator, nor a class")
    parameters = list(inspect.signature(function).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) not in (1, 2) or any(one.kind not in kinds for one in parameters):
        raise TypeError(f"its parameters are {inspect.signature(function)}; valid are {_VALID}")
    if len(parameters) == 1:
        return None
    name = parameters[1].name
    try:
        model = typing.get_type_hints(function).get(name)
    except NameError as error:
        raise TypeError(
            f"the annotation of {name} cannot be resolved ({error}): define its model at module level"
        ) from error
    if not (inspect.isclass(model) and issubclass(model, BaseModel)) or issubclass(model, RootModel):
        raise TypeError(f"{name} is annotated with {model!r}; valid are {_VALID}")
    return model


def refusing_unknown(model: type[BaseModel]) -> type[BaseModel]:
    """Return the model so that a member which it does not know is an error, unless it says itself what one is.

    A misspelt argument that is passed over in silence would do something else than was asked for.
    """
    if "extra" in model.model_config:
        return model
    members = {"model_config": ConfigDict(extra="forbid"), "__module__": model.__module__, "__doc__": model.__doc__}
    return type(model.__name__, (model,), members)


def said_of(function: Callable[..., Any]) -> tuple[str, str]:
    """Return the first line of the docstring without its full stop, and what follows it."""
    first, _, rest = (inspect.getdoc(function) or "").partition("\n")
    return first.strip().removesuffix("."), rest.strip()
