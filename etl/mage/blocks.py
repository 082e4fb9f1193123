"""The functions behind the blocks of the Mage project. Each takes the run's variables and the previous block's output.

A variable that a step needs must be set in the pipeline, its trigger or the backfill; none has a default here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog

from etl import settings
from etl.errors import ChecksFailedError
from etl.events.emails import scrub_text
from etl.mage import catch_up, quality_checks, steps, tables
from etl.mage.execution_date import hour_of_run, whole_number, yes_or_no
from etl.mage.task_payload import read_task_payload
from etl.plural import plural
from etl.runtime import logs

Variables = Mapping[str, Any]

_PACKAGE: Final = "etl"
_MOST_HOURS: Final = 24 * 366
_MOST_MINUTES: Final = 24 * 60

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def fetch_hour(variables: Variables) -> dict[str, Any]:
    """Fetches the run's hour to staging; see ``steps.fetch``."""
    options = _step_options(variables, refresh=yes_or_no(variables, "refresh"))
    wait = whole_number(variables, "wait_minutes", least=0, most=_MOST_MINUTES)
    hour = hour_of_run(variables)
    return _result(steps.fetch(hour, _run_of(variables), options, wait_seconds=60.0 * wait))


def check_fetched(value: object, variables: Variables) -> None:
    """Checks the result of the previous block."""
    quality_checks.check_fetched(read_task_payload(value), _step_options(variables).staging)


def enforce_schema(value: object, variables: Variables) -> dict[str, Any]:
    """Decodes the fetched hour into the schema, in staging; see ``steps.shape``."""
    return _result(steps.shape(read_task_payload(value), _step_options(variables)))


def check_shaped(value: object, variables: Variables) -> None:
    """Checks a shaped hour before it is published."""
    steps.check_shaped(read_task_payload(value), _step_options(variables))


def publish_hour(value: object, variables: Variables) -> dict[str, Any]:
    """Publishes the hour in the lake; see ``steps.publish``."""
    return _result(steps.publish(read_task_payload(value), _step_options(variables)))


def check_published(value: object, variables: Variables) -> None:
    """Checks the result of the previous block."""
    quality_checks.check_published(read_task_payload(value), _step_options(variables).lake)


def list_due_hours(variables: Variables) -> dict[str, Any]:
    """Finds the newest hours that are not complete; see ``catch_up.find_due``."""
    look_back = whole_number(variables, "look_back_hours", least=1, most=_MOST_HOURS)
    return _result(catch_up.find_due(_step_options(variables), look_back=look_back))


def bring_due_hours(value: object, variables: Variables) -> dict[str, Any]:
    """Processes them; see ``catch_up.bring_due``."""
    return _result(catch_up.bring_due(catch_up.read(value, catch_up.Due), _run_of(variables), _step_options(variables)))


def report_coverage(value: object, variables: Variables) -> dict[str, Any]:
    """Writes the coverage page and returns its address; see ``catch_up.report``."""
    options = _step_options(variables)
    late = whole_number(variables, "late_hours", least=0, most=_MOST_HOURS)
    warehouse = settings.load().settings.warehouse
    return _result(
        catch_up.report(catch_up.read(value, catch_up.Brought), options, warehouse=warehouse, late_hours=late)
    )


def check_report(value: object) -> None:
    """Checks that no hour is late."""
    catch_up.check_report(catch_up.read(value, catch_up.CatchUpReport))


def list_touched_days(variables: Variables) -> dict[str, Any]:
    """Finds what the warehouse has to rebuild; see ``tables.find_touched``."""
    read = settings.load().settings
    _configure_logs(read)
    engine = str(variables.get("engine"))
    return _result(tables.find_touched(engine, dataset=read.dataset, spark_image=read.spark_image))


def build_tables(value: object) -> dict[str, Any]:
    """Builds the tables; see ``tables.build``."""
    read = settings.load().settings
    _configure_logs(read)
    return _result(tables.build(catch_up.read(value, tables.Touched), dataset=read.dataset))


def check_built(value: object) -> None:
    """Checks that no partition failed a check.

    Raises:
        ChecksFailedError: If a partition failed.
    """
    built: tables.Built = catch_up.read(value, tables.Built)
    if refused := built.outcomes.get("refused", 0):
        raise ChecksFailedError(f"{plural(refused, 'partition')} failed a check; the existing data is unchanged")


def _step_options(variables: Variables, *, refresh: bool = False) -> steps.StepOptions:
    read = settings.load().settings
    _configure_logs(read)
    accept_partial = yes_or_no(variables, "accept_partial")
    return steps.step_options(read, refresh=refresh, accept_partial=accept_partial)


def _run_of(variables: Variables) -> str:
    """Returns the name of the run; a block run by itself on the page has none."""
    return str(variables.get("pipeline_run_id", "by-hand"))


def _result(result: msgspec.Struct) -> dict[str, Any]:
    """Returns a result as Mage stores it, and writes it to the block's log."""
    given: dict[str, Any] = msgspec.to_builtins(result)
    _log.info("done", **{name: value for name, value in given.items() if not isinstance(value, dict | list | None)})
    return given


def _configure_logs(read: settings.Settings) -> None:
    """Writes our log lines to standard error, which Mage sends to the block's log while a block runs.

    Only ours: Mage's own log lines would be logged in an endless loop.
    """
    root, package = logging.getLogger(), logging.getLogger(_PACKAGE)
    handlers, level = root.handlers[:], root.level
    form = "plain" if read.log_format == "auto" else read.log_format
    logs.configure(form, read.log_level, scrub=str if read.emails == "keep" else scrub_text)
    package.handlers[:] = root.handlers
    package.propagate = False
    root.handlers[:] = handlers
    root.setLevel(level)
