"""The quality gates: what has to hold before an hour goes on, and what is said when it does not.

They are what the ``@test`` functions of the blocks call. A gate raises ``GateError``, which fails the block; what stood
in the lake stands as before. Their messages hold counts and reasons, never anything of an event.
"""

from __future__ import annotations

from etl.errors import GateError, StoreError
from etl.events.schema import ARROW_SCHEMA
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.manifest import Content, Status
from etl.mage.staging import Spool
from etl.mage.task_payload import State, TaskPayload

__all__ = ["GateError", "check_fetched", "check_published", "check_shaped", "made_of"]

_ACCEPT = "to take it all the same, run it with the variable accept_partial set to true"


def check_fetched(payload: TaskPayload, spool: Spool) -> None:
    """What was fetched is there, and as long as it was announced; any other payload passes.

    Raises:
        GateError: If not.
    """
    if payload.state is not State.FETCHED:
        return
    file = spool.file(payload)
    size = file.stat().st_size if file.is_file() else None
    if payload.origin is None or size != payload.origin.bytes:
        raise GateError(
            f"{payload.hour}: {size} bytes lie in the spool, {payload.origin and payload.origin.bytes} came"
        )


def check_shaped(payload: TaskPayload, spool: Spool, *, accept_partial: bool) -> None:
    """What is to be published is whole: readable, with events, of the schema, byte for byte what was written.

    Args:
        payload: The payload; one that is not shaped passes.
        spool: Where it lies.
        accept_partial: Whether an hour with more damage than allowed, or without any event, passes.

    Raises:
        GateError: If not.
        StoreError: If the spool cannot be read.
    """
    if payload.state is not State.SHAPED:
        return
    if payload.status != Status.COMPLETE and not accept_partial:
        raise GateError(f"{payload.hour} is {payload.status}: {payload.reason}; it was not published", hint=_ACCEPT)
    problems = Lake.at(str(spool.lake(payload))).verify(payload.the_hour, ARROW_SCHEMA)
    if problems:
        raise GateError(f"{payload.hour} was not written as it should be: {'; '.join(problems)}")


def check_published(payload: TaskPayload, lake: Lake) -> None:
    """What was published is in the lake, with its manifest; any other payload passes.

    Raises:
        GateError: If not.
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
    """Returns what an hour in the spool holds, and the key of its events.

    Raises:
        StoreError: If it is not there.
    """
    manifest = lake.manifest(hour)
    if manifest is None or manifest.content is None or manifest.events_file is None:
        raise StoreError(f"{hour} is not in the spool any more", hint="run it again")
    return manifest.content, manifest.events_file.key
