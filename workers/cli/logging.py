"""Logs to standard error: structlog's events, and what the libraries have to say, in one format."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import stamina.instrumentation
import structlog

from schemas.settings import LogSettings
from schemas.traces import current

#: Whose lines are ours. Below a warning nobody else is heard, whatever the level: drivers tell statements with their values, clients
#: addresses with their queries.
_OURS = ("schemas", "receiver", "workers")
#: aio-pika, aiormq and OpenTelemetry put URLs and frames even into warnings, uvicorn tracebacks; what they tell, we tell ourselves.
_QUIET = ("aio_pika", "aiormq", "opentelemetry", "urllib3", "uvicorn")


def _with_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What is told while something traced is worked on, can be found from its trace."""
    trace = current().trace
    return {**event, "trace": trace.split("-")[1]} if trace else event


def configure(settings: LogSettings) -> None:
    """Set up both kinds of loggers; `auto` is JSON unless somebody watches."""
    pretty = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _with_trace,
        structlog.processors.TimeStamper(fmt="iso", utc=not pretty),
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(default=str)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    for names, least in ((_OURS, level), (_QUIET, logging.CRITICAL)):
        for name in names:
            logging.getLogger(name).setLevel(least)
    # Stamina logs the repr of what failed, which may hold an address with a password.
    stamina.instrumentation.set_on_retry_hooks([])
