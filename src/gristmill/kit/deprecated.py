"""Old names of things that moved: they work for one release and warn."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def moved_names(module: str, moved: Mapping[str, tuple[str, str]], instead: str) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for ``module``, which answers for names that it no longer defines.

    moved: old name -> (module, name) of what it stands for. instead: the module that users are told to import from.
    """

    def getattr_(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(
            f"{module}.{name} moved and goes away in the next release: import it from {instead}",
            DeprecationWarning,
            stacklevel=2,
        )
        where, found = moved[name]
        return getattr(importlib.import_module(where), found)

    return getattr_
