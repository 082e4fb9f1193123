"""Logging: readable text on a terminal, JSON for Cloud Logging in the cloud, and ``key=value`` lines elsewhere.

All modules log with ``structlog.get_logger(__name__)`` or plain ``logging``. Both are written to standard error by this
module. All strings are scrubbed first, because exceptions and URLs may contain an e-mail address.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog
from typing_extensions import override

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["auto", "plain", "json"]
Level = Literal["debug", "info", "warning", "error"]
Form = Literal["terminal", "plain", "json"]
Scrub = Callable[[str], str]

_PACKAGE: Final = "etl"
_CLOUD_MARKS: Final = ("K_SERVICE", "CLOUD_RUN_JOB")
"""Variables that Cloud Run sets for its services and jobs; those of Dataproc start with ``DATAPROC_``."""
_SEVERITIES: Final = {
    "debug": "DEBUG",
    "info": "INFO",
    "warning": "WARNING",
    "error": "ERROR",
    "exception": "ERROR",
    "critical": "CRITICAL",
}


class _StandardError(logging.Handler):
    """Writes to the current ``sys.stderr``, which a progress bar replaces to keep logs above the bar."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 -- as in logging: a log line never stops the program
            self.handleError(record)


def configure(format: Format, level: Level, *, scrub: Scrub) -> None:  # noqa: A002 -- named as the setting is
    """Configures logging for the process. It may be called more than once.

    Args:
        format: ``auto`` is JSON in the cloud, coloured text on a terminal, and ``plain`` otherwise.
        level: Minimum level of this package's logs. The level of other packages is ``warning``, or ``info`` if this is
            ``debug``. FutureWarnings of other packages are only logged if this is ``debug``.
        scrub: Function applied to all strings in logs.
    """
    form = _resolved(format)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _StandardError(form)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.StackInfoRenderer(),
                _scrubber(scrub),
                *_renderer(form),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if level == "debug" else logging.WARNING)
    logging.getLogger(_PACKAGE).setLevel(level.upper())
    logging.captureWarnings(capture=True)
    if level != "debug":
        _silence_libraries()


def _silence_libraries() -> None:
    """Ignores FutureWarnings of libraries, which only whoever chooses their versions can act on.

    Interpreter options (``-W``, ``PYTHONWARNINGS``) take precedence.
    """
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("default", category=FutureWarning, module=rf"{_PACKAGE}(\.|$)")


def shows_debug() -> bool:
    """Returns whether logging is configured to show debug messages."""
    return structlog.is_configured() and logging.getLogger(_PACKAGE).isEnabledFor(logging.DEBUG)


def writes_json() -> bool:
    """Returns whether logging is configured to write JSON; final messages should then be JSON as well."""
    return any(isinstance(handler, _StandardError) and handler.form == "json" for handler in logging.root.handlers)


def count(event: str, **facts: str | float | None) -> None:
    """Logs an event that alerts and dashboards count: at ``info`` if logs are JSON, otherwise at ``debug``.

    Args:
        event: What happened. ``terraform/modules/monitoring`` filters by this text, which a test checks.
        facts: Details.
    """
    if not structlog.is_configured():  # used as a library: the program owns its output
        return
    log = structlog.get_logger(__name__)
    write = log.info if writes_json() else log.debug
    write(event, **facts)


def _resolved(format: Format) -> Form:  # noqa: A002
    if format != "auto":
        return format
    if any(name in _CLOUD_MARKS or name.startswith("DATAPROC_") for name in os.environ):
        return "json"
    return "terminal" if sys.stderr.isatty() else "plain"


def _renderer(form: Form) -> list[Processor]:
    if form == "json":
        return [
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _for_cloud_logging,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    if form == "plain":
        return [
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.EventRenamer("message"),
            structlog.processors.LogfmtRenderer(key_order=["time", "level", "message"]),
        ]
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=True),
        structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ),
    ]


def _for_cloud_logging(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Renames the three fields that are special in Cloud Logging, and puts them first."""
    return {
        "severity": _SEVERITIES.get(str(event.pop("level", "info")), "DEFAULT"),
        "time": event.pop("time"),
        "message": event.pop("event"),
        **event,
    }


def _scrubber(scrub: Scrub) -> Processor:
    def clean(value: object) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {scrub(str(key)): clean(part) for key, part in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [clean(part) for part in value]
        return scrub(str(value)).rstrip()

    def process(_logger: WrappedLogger, _name: str, event: MutableMapping[str, Any]) -> EventDict:
        return {key: clean(value) for key, value in event.items()}

    return process
