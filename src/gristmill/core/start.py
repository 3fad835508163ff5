"""The first thing that every process does: its settings and its log."""

import sys

from gristmill.core.config import Settings, load_settings
from gristmill.core.errors import Invalid
from gristmill.core.logs import configure_logs, get_logger

# As of a command line that is wrong.
_EXIT = 2


def begin(process: str) -> Settings:
    """Return the settings, and log as ``process``. Settings that are not valid are logged, and end the process."""
    try:
        settings = load_settings()
    except Invalid as error:
        configure_logs(process, "info")
        get_logger().error("settings.refused", reason=error.detail)
        sys.exit(_EXIT)
    configure_logs(process, settings.log_level)
    return settings
