"""httpx, loaded at its first use: a command that calls no server need not wait for it."""

import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx as httpx


def _load_later(name: str) -> ModuleType:
    """Return the module; its code runs when an attribute is asked for. Raises ModuleNotFoundError if it is missing."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if not TYPE_CHECKING:
    httpx = _load_later("httpx")
