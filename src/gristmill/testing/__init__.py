"""Job types in one's own tests: carried out on a real Postgres, without a broker and without other processes."""

from gristmill.testing.calls import call
from gristmill.testing.sandbox import Sandbox

__all__ = ["Sandbox", "call"]
