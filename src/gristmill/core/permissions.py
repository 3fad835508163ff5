"""What a key may do. Each permission includes those before it."""

from typing import Literal

Permission = Literal["read", "write", "admin"]
PERMISSIONS: tuple[Permission, ...] = ("read", "write", "admin")
