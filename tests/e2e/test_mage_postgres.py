"""A Mage server whose database is Postgres, as in a container: a backfill, and its record over a restart."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from etl.errors import ExitCode
from etl.hours import Hour, HourRange
from etl.practice.server import Generated, PracticeServer
from tests.e2e.mage_server import Server, living, serving, tree, until
from tests.e2e.postgres import postgres
from tests.integration.running import sound

HOURS: Final = HourRange(Hour.parse("2024-02-28-23"), Hour.parse("2024-02-29-0"))
EVENTS: Final = 100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # Not below pytest's own folder, which lets nobody else in.
    with tempfile.TemporaryDirectory(prefix="mage-postgres-") as open_folder:
        Path(open_folder).chmod(0o755)
        with (
            postgres(Path(open_folder) / "database") as database,
            PracticeServer(Generated(HOURS, events=EVENTS)) as archive,
            serving(
                tmp_path_factory.mktemp("mage"),
                archive.address,
                "--schedules",
                env={"MAGE_DATABASE_CONNECTION_URL": database, "JWT_SECRET": "a key of these tests, of some length"},
            ) as running,
        ):
            yield running


def test_a_backfill_and_its_record_live_in_postgres(server: Server) -> None:
    client = server.client()
    number = client.start_backfill(HOURS)
    client.follow(number, lambda _: None, every=0.3)
    for hour in HOURS:
        content = sound(server.lake, hour).content
        assert content is not None
        assert content.events == EVENTS
    assert not (server.folder / "server" / "mage.db").exists()

    # Another process, the same record: all that has to last is in the database.
    server.kill()
    server.start()
    counts = server.client().counts(number)
    assert (counts.total, counts.statuses) == (2, {"completed": 2})
    assert not (server.folder / "server" / "jwt-secret").exists()

    # Told to end, it ends all it started, and well.
    assert server.process is not None
    started = tree(server.process.pid)
    assert len(started) > 1
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == ExitCode.OK
    until(lambda: not living(started), "the end of all of them", seconds=20)
    assert "Mage has ended" in server.log
