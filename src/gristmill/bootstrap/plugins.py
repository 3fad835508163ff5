"""Plugins: found by the setting ``jobs.plugins`` and the entry points ``gristmill.jobs``, loaded one by one.

One that cannot be loaded is logged with its reason and listed by ``GET /job-types``; everything else works.
"""

import importlib
import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from gristmill.bootstrap.shared import Gristmill
from gristmill.core.logs import get_logger
from gristmill.jobs.handlers import Registry
from gristmill.jobs.job_types.catalogue import Plugin
from gristmill.jobs.job_types.declaration import JobType
from gristmill.jobs.job_types.functions import FunctionHandler, handler_of
from gristmill.jobs.job_types.transactions import Limits

log = get_logger()
GROUP = "gristmill.jobs"
_SETTING = "jobs.plugins"
_OURS = "Gristmill itself"


def load_plugins(gristmill: Gristmill, registry: Registry) -> list[Plugin]:
    """Add the job types of all plugins to the registry; return what became of each plugin."""
    # Python hides deprecations outside of __main__: those of plugins belong into the log of whoever runs them.
    warnings.filterwarnings("default", message=".*gristmill.plugin", category=DeprecationWarning)
    owners = dict.fromkeys((handler.type for handler in registry), _OURS)
    found: list[Plugin] = []
    for name, named_by, load in _named(gristmill.settings.jobs_plugins):
        if name in {one.name for one in found}:
            continue
        try:
            types = _add(gristmill, registry, owners, name, load())
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            log.error("plugin.failed", plugin=name, named_by=named_by, reason=reason, exc_info=error)
            found.append(Plugin(name, named_by, error=reason[:1000]))
        else:
            found.append(Plugin(name, named_by, types))
    return found


def _named(setting: str) -> Iterator[tuple[str, str, Any]]:
    """Yield (name, what names it, what loads it) of each plugin: those of the setting in its order, then the others."""
    for name in setting.split():
        yield name, _SETTING, lambda name=name: importlib.import_module(name)
    for point in sorted(entry_points(group=GROUP), key=lambda one: (one.value, one.name)):
        yield point.value, f"entry point {point.name}", point.load


def _add(gristmill: Gristmill, registry: Registry, owners: dict[str, str], name: str, loaded: Any) -> list[str]:
    """Add what a plugin declares, all of it or nothing; return its job types. owners: who has each type."""
    added = Registry()
    known = {id(one.job_type) for one in registry if isinstance(one, FunctionHandler)}
    for declared in _declared(loaded):
        # A type that one plugin imports from another is the same object.
        if id(declared) not in known:
            limits = Limits.of(declared.queue, gristmill.settings)
            added.add(handler_of(declared, gristmill.database, limits))
    if isinstance(loaded, ModuleType) and hasattr(loaded, "register"):
        loaded.register(added, gristmill)
    for handler in added:
        if handler.type in owners:
            raise ValueError(
                f"the job type {handler.type} is declared by {owners[handler.type]} and by {name}: "
                f"{owners[handler.type]} keeps it, and nothing of {name} was loaded"
            )
    for handler in added:
        registry.add(handler)
        owners[handler.type] = name
    return sorted(handler.type for handler in added)


def _declared(loaded: Any) -> list[JobType]:
    if isinstance(loaded, JobType):
        return [loaded]
    if not isinstance(loaded, ModuleType):
        raise TypeError(
            f"an entry point of the group {GROUP} names a module or a job type, and no {type(loaded).__name__}"
        )
    return list({id(one): one for one in vars(loaded).values() if isinstance(one, JobType)}.values())
