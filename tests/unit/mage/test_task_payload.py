"""What comes back from Mage's store is validated, since it names folders that are removed."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from etl.errors import UsageError
from etl.mage.task_payload import Origin, State, TaskPayload, read_task_payload

ORIGIN = Origin(
    source="https://data.gharchive.org",
    url="https://data.gharchive.org/2015-01-01-15.json.gz",
    etag='"1"',
    last_modified=None,
    bytes=7,
    sha256="0" * 64,
    sidecar=False,
    event_count=None,
)
PARCEL = TaskPayload(
    hour="2015-01-01-15", run="12", state=State.FETCHED, started_at=datetime(2026, 1, 1, tzinfo=UTC), origin=ORIGIN
)


def test_it_survives_the_way_through_json() -> None:
    assert read_task_payload(json.loads(json.dumps(PARCEL.as_dict()))) == PARCEL


@pytest.mark.parametrize(
    "changed",
    [
        {"run": "../.."},
        {"run": ""},
        {"run": "/etc"},
        {"hour": "../../2015-01-01-15"},
        {"hour": "2015-01-01-05"},
        {"hour": "2015-01-01T15"},
        {"state": "lost"},
        {"extra": 1},
        {"started_at": "yesterday"},
    ],
)
def test_what_could_lead_elsewhere_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        read_task_payload(PARCEL.as_dict() | changed)


@pytest.mark.parametrize("value", [None, [], "2015-01-01-15", {}])
def test_what_is_no_parcel_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="no payload"):
        read_task_payload(value)
