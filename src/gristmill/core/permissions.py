"""What a key may do. Each permission includes those before it."""

from typing import Literal

Permission = Literal["read", "write", "admin"]
PERMISSIONS: tuple[Permission, ...] = ("read", "write", "admin")

# What a caller may have: no key has the first one, it is of those who come with a signed link to one file.
Level = Literal["link", "read", "write", "admin"]
LEVELS: tuple[Level, ...] = ("link", *PERMISSIONS)
