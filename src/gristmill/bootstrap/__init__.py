"""The only place that picks implementations and wires them: one file for each kind of process."""

from gristmill.kit.deprecated import moved_names

__getattr__ = moved_names(__name__, {"Gristmill": ("gristmill.bootstrap.shared", "Gristmill")}, "gristmill.plugin")
