"""Logging: dotted event names with fields; JSON lines unless standard error is a terminal."""

import logging
import sys
from typing import Any

import structlog


def configure_logs(service: str, level: str = "info") -> None:
    """Set up structlog, and the standard library's loggers to look the same. ``service`` is added to every event.

    Our own events go straight to standard error: through the standard library they would cost three times as much,
    and a small job logs several.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any] = (
        # By default it draws tracebacks with the values of variables: a second of work, and records are not for logs.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if sys.stderr.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    structlog.contextvars.bind_contextvars(service=service)


def get_logger() -> Any:
    """Return a logger: ``log.info("chunk.claimed", job=..., fence=...)``."""
    return structlog.get_logger()
