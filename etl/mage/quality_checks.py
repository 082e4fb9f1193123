"""The quality checks of an hour between the steps.

The ``@test`` functions of the blocks call them. A failed check raises ``GateError``, which fails the block; the lake
is unchanged. Messages contain counts and reasons, never data of an event.
"""

from __future__ import annotations

from etl.errors import GateError, StoreError
from etl.events.schema import ARROW_SCHEMA
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.manifest import Content, Status
from etl.mage.staging import StagingFolder
from etl.mage.task_payload import State, TaskPayload

__all__ = ["GateError", "check_fetched", "check_published", "check_shaped", "made_of"]

_ACCEPT = "to accept it anyway, run it with the variable accept_partial set to true"


def check_fetched(payload: TaskPayload, staging: StagingFolder) -> None:
    """Checks that the fetched file exists and has the announced size; any other payload passes.

    Raises:
        GateError: If the check fails.
    """
    if payload.state is not State.FETCHED:
        return
    file = staging.file(payload)
    size = file.stat().st_size if file.is_file() else None
    if payload.origin is None or size != payload.origin.bytes:
        raise GateError(
            f"{payload.hour}: the staging folder has {size} bytes of {payload.origin and payload.origin.bytes}"
        )


def check_shaped(payload: TaskPayload, staging: StagingFolder, *, accept_partial: bool) -> None:
    """Checks the hour to be published: readable, with events, of the schema, and the bytes that were written.

    Args:
        payload: The payload; one that is not shaped passes.
        staging: The staging folder.
        accept_partial: Whether an hour with more damage than allowed, or without any event, passes.

    Raises:
        GateError: If the check fails.
        StoreError: If the staging folder cannot be read.
    """
    if payload.state is not State.SHAPED:
        return
    if payload.status != Status.COMPLETE and not accept_partial:
        raise GateError(f"{payload.hour} is {payload.status}: {payload.reason}; it was not published", hint=_ACCEPT)
    problems = Lake.at(str(staging.lake(payload))).verify(payload.the_hour, ARROW_SCHEMA)
    if problems:
        raise GateError(f"{payload.hour} was not written as it should be: {'; '.join(problems)}")


def check_published(payload: TaskPayload, lake: Lake) -> None:
    """Checks that the published hour is in the lake, as in its manifest; any other payload passes.

    Raises:
        GateError: If the check fails.
        StoreError: If the lake cannot be read.
    """
    if payload.state not in {State.STORED, State.REPLACED}:
        return
    manifest = lake.manifest(payload.the_hour)
    facts = None if manifest is None else manifest.events_file
    info = None if facts is None else lake.store.stat(facts.key)
    if facts is None or info is None or info.size != facts.bytes:
        raise GateError(f"{payload.hour} was published, and the lake does not have it as its manifest says")


def made_of(lake: Lake, hour: Hour) -> tuple[Content, str]:
    """Returns the content of a staged hour, and the key of its events.

    Raises:
        StoreError: If it is not in the staging folder.
    """
    manifest = lake.manifest(hour)
    if manifest is None or manifest.content is None or manifest.events_file is None:
        raise StoreError(f"{hour} is not in the staging folder any more", hint="run it again")
    return manifest.content, manifest.events_file.key
