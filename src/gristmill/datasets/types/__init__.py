"""Field types: all that is true of one type stands in its own file here, and nothing of it anywhere else.

To add a type, name it in ``contract.TypeName`` and write the file of that name, which ends in ``TYPE = …``.
``docs/types.md`` describes the types for users; a test holds the two together.
"""

from importlib import import_module
from typing import get_args

from gristmill.datasets.contract import TypeName
from gristmill.datasets.types.base import FieldType

TYPES: dict[str, FieldType] = {name: import_module(f"{__name__}.{name}").TYPE for name in get_args(TypeName)}

__all__ = ["TYPES", "FieldType"]
