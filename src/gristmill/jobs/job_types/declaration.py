"""What a plugin says of a job type: checked when the plugin is imported, so that no job meets a mistake."""

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from gristmill.broker.queues import DEFAULT_QUEUE, queue_names
from gristmill.core.permissions import PERMISSIONS, Permission
from gristmill.jobs.job_types.scopes import fields_in
from gristmill.jobs.job_types.signature import model_of, refusing_unknown, said_of

Result = Mapping[str, Any] | BaseModel | None
Function = Callable[..., Result]
Hold = Literal["shared", "exclusive"]

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_LONGEST_NAME = 100
MOST_ATTEMPTS = 100


class NoArguments(BaseModel, extra="forbid"):
    """The arguments of a function that takes none."""


@dataclass(frozen=True, slots=True, eq=False)
class JobType:
    """A function as a job type: ``job_type`` makes it and explains its members. Calling it calls the function.

    model: of the arguments. takes_arguments: whether the function has a parameter for them.
    """

    name: str
    function: Function = field(repr=False)
    model: type[BaseModel] = NoArguments
    takes_arguments: bool = False
    title: str = ""
    description: str = ""
    queue: str = DEFAULT_QUEUE
    max_attempts: int | None = None
    idempotent: bool = False
    permission: Permission = "write"
    dataset: str | None = None
    exclusive: bool = False
    scopes: Mapping[str, Hold] = field(default_factory=dict)
    shares: bool = False
    retry_on: tuple[type[Exception], ...] = ()

    def __call__(self, run: Any, args: Any = None) -> Result:
        return self.function(run, args) if self.takes_arguments else self.function(run)

    @property
    def source(self) -> str:
        """Where its function is: module and name."""
        return f"{self.function.__module__}.{getattr(self.function, '__qualname__', self.function)}"


def job_type(
    name: str,
    *,
    queue: str = DEFAULT_QUEUE,
    max_attempts: int | None = None,
    idempotent: bool = False,
    permission: Permission = "write",
    dataset: str | None = None,
    exclusive: bool = False,
    scopes: Mapping[str, Hold] | None = None,
    shares: bool = False,
    retry_on: type[Exception] | tuple[type[Exception], ...] = (),
    title: str | None = None,
    description: str | None = None,
) -> Callable[[Function], JobType]:
    """Make a function a job type: ``(run: JobRun)`` or ``(run: JobRun, args: Model)``, returning a dict or None.

    name: dotted, as ``reports.daily``; Flower and lists of jobs show it.
    queue: ``long`` for what takes more than a few minutes.
    max_attempts: 1 to 100; None for the setting ``jobs.max_attempts``. A submission may ask for another number.
    idempotent: False: the function's one transaction, ``run.connection``, is committed together with the job's end.
        True: it acts outside of Postgres, and has to bear being carried out again after a part of it was done.
    permission: what a key needs to submit it: ``read``, ``write`` or ``admin``.
    dataset: the dataset that it is about, shown by the job; ``{field}`` stands for an argument. It runs after
        everything exclusive that was submitted for that dataset before it.
    exclusive: alone in its dataset: after everything submitted before it, before everything submitted after it.
        Without a dataset: jobs of this type run one after another.
    scopes: further ones, each shared or exclusive: ``{"dataset:{other}": "shared", "printer": "exclusive"}``.
    shares: for functions of milliseconds: small jobs that wait may share a message and a transaction. If one of them
        fails, each is carried out again alone.
    retry_on: exceptions after which it is tried again, as after ``Unavailable``.
    title, description: for lists of job types; by default the first line of the docstring, and what follows it.
    Raises TypeError or ValueError, naming the function and what would be valid.
    """

    def declare(function: Function) -> JobType:
        where = f"{name!r} ({function.__module__}.{getattr(function, '__qualname__', function)})"
        try:
            model = model_of(function)
            first, rest = said_of(function)
            found = JobType(
                name=name,
                function=function,
                model=NoArguments if model is None else refusing_unknown(model),
                takes_arguments=model is not None,
                title=first or name if title is None else title,
                description=rest if description is None else description,
                queue=queue,
                max_attempts=max_attempts,
                idempotent=idempotent,
                permission=permission,
                dataset=dataset,
                exclusive=exclusive,
                scopes=dict(scopes or {}),
                shares=shares,
                retry_on=retry_on if isinstance(retry_on, tuple) else (retry_on,),
            )
            _check(found)
        except (TypeError, ValueError) as error:
            raise type(error)(f"The job type {where} is not valid: {error}") from error
        return found

    return declare


def _check(found: JobType) -> None:
    """Raise TypeError or ValueError for what cannot be meant."""
    if len(found.name) > _LONGEST_NAME or not _NAME.fullmatch(found.name):
        raise ValueError(
            "a name is two or more parts with a dot between them, of a-z, 0-9 and '_' as in 'reports.daily', "
            f"and has at most {_LONGEST_NAME} characters"
        )
    if found.queue not in queue_names():
        raise ValueError(f"there is no queue {found.queue!r}; the queues are: {', '.join(queue_names())}")
    if found.permission not in PERMISSIONS:
        raise ValueError(f"the permission {found.permission!r} is none of {', '.join(PERMISSIONS)}")
    if found.max_attempts is not None and not 1 <= found.max_attempts <= MOST_ATTEMPTS:
        raise ValueError(f"max_attempts is {found.max_attempts}; valid are 1 to {MOST_ATTEMPTS}")
    if found.shares and found.idempotent:
        raise ValueError("an idempotent job has no transaction that it could share: leave out shares")
    for scope, hold in found.scopes.items():
        if hold not in typing.get_args(Hold):
            raise ValueError(f"the scope {scope!r} is {hold!r}; valid are {' and '.join(typing.get_args(Hold))}")
    for template in (*found.scopes, *([] if found.dataset is None else [found.dataset])):
        unknown = [name for name in fields_in(template) if name not in found.model.model_fields]
        if unknown:
            fields = ", ".join(found.model.model_fields) or "none"
            raise ValueError(f"{template!r} names {unknown[0]!r}, which is no argument; there are: {fields}")
    for one in found.retry_on:
        if not (isinstance(one, type) and issubclass(one, Exception)) or one is Exception:
            raise TypeError(f"retry_on has {one!r}: name the classes of exceptions that may pass, not all of them")
