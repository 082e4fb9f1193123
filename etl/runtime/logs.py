"""Logs: for people on a terminal, ``key=value`` lines elsewhere, JSON as Cloud Logging reads it in the cloud.

All modules log through ``structlog.get_logger(__name__)`` or plain ``logging``; both end here, on standard
error, and every text in them passes the scrubber first, because exceptions and addresses may carry an
e-mail address that the policy hides.
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
"""Set by Cloud Run for its services and jobs; what Dataproc sets begins with ``DATAPROC_``."""
_SEVERITIES: Final = {
    "debug": "DEBUG",
    "info": "INFO",
    "warning": "WARNING",
    "error": "ERROR",
    "exception": "ERROR",
    "critical": "CRITICAL",
}


class _StandardError(logging.Handler):
    """Writes to what ``sys.stderr`` is at that moment: a progress bar replaces it to keep logs above the bar."""

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
        except Exception:  # noqa: BLE001 -- the convention of logging: a log line never stops the work
            self.handleError(record)


def configure(format: Format, level: Level, *, scrub: Scrub) -> None:  # noqa: A002 -- named as the setting is
    """Sets up all logging of the process; may be called again.

    Args:
        format: ``auto`` chooses: JSON in the cloud, coloured on a terminal, else ``plain``.
        level: The least severe log of this package to be written. Other packages' logs are written
            from ``warning`` on, or from ``info`` on when this is ``debug``. So are FutureWarnings of other packages
            only when this is ``debug``.
        scrub: Applied to every text of every log.
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
    """Ignores what libraries say of their own future: only who chooses their versions can act on it.

    Options of the interpreter (``-W``, ``PYTHONWARNINGS``) are left as they are.
    """
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("default", category=FutureWarning, module=rf"{_PACKAGE}(\.|$)")


def shows_debug() -> bool:
    """Returns whether logging was set up to show what only a developer wants to see."""
    return structlog.is_configured() and logging.getLogger(_PACKAGE).isEnabledFor(logging.DEBUG)


def writes_json() -> bool:
    """Returns whether logging was set up to write JSON, so that a last word should be JSON as well."""
    return any(isinstance(handler, _StandardError) and handler.form == "json" for handler in logging.root.handlers)


def count(event: str, **facts: str | float | None) -> None:
    """Logs something that alerts and dashboards count: where logs are JSON at ``info``, else only for developers.

    Args:
        event: What happened. ``terraform/modules/monitoring`` looks for these very words; a test holds it to them.
        facts: What is known of it.
    """
    if not structlog.is_configured():  # in a program of somebody else's, whose output is theirs
        return
    log = structlog.get_logger(__name__)
    tell = log.info if writes_json() else log.debug
    tell(event, **facts)


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
            _as_cloud_logging_reads_it,
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


def _as_cloud_logging_reads_it(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Returns the three fields that Cloud Logging treats apart their names there, and puts them first."""
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
