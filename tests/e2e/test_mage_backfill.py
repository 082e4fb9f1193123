"""A real Mage server processes hours in backfills: from its API, from the command line and from its pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
import requests

from etl.errors import ExitCode, UsageError
from etl.hours import Hour, HourRange
from etl.lake.lake import Lake
from etl.lake.layout import events_key, manifest_key
from etl.lake.manifest import Manifest, Status
from etl.mage.client import API_KEY, MageClient, hour_of
from etl.practice.faults import FaultPlan, FaultyServer, Truncated
from etl.practice.generator import write_archive
from tests.e2e.browsing import chromium
from tests.e2e.mage_pages import Pages
from tests.e2e.mage_server import PASSWORD, Server, serving, until
from tests.e2e.mailbox import Mailbox, receiving
from tests.e2e.running import etl
from tests.e2e.webhook import Webhook, listening
from tests.integration.running import objects, sound, stored_rows

REAL: Final = HourRange(Hour.parse("2015-01-01-0"), Hour.parse("2015-01-01-15"))
MIDNIGHT: Final = HourRange(Hour.parse("2018-12-31-22"), Hour.parse("2019-01-01-1"))
BY_PAGE: Final = HourRange(Hour.parse("2019-02-28-23"), Hour.parse("2019-03-01-0"))
BAD: Final = Hour.parse("2019-06-01-5")
EVENTS: Final = 200


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of made-up hours, and of the real ones where they lie beside the checkout."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive([*MIDNIGHT, *BY_PAGE, BAD], folder, events=EVENTS)
    return folder


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    with listening() as hook:
        yield hook


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with receiving() as box:
        yield box


@pytest.fixture(scope="module")
def archive(files: Path) -> Iterator[FaultyServer]:
    with FaultyServer(files, FaultPlan(faults=(Truncated(hours=(str(BAD),), keep=0.7),))) as server:
        yield server


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, archive: FaultyServer, webhook: Webhook, mailbox: Mailbox
) -> Iterator[Server]:
    alerts = {
        "MAGE_SLACK_WEBHOOK_URL": webhook.address,
        "MAGE_PUBLIC_HOST": "https://mage.example.org",
        "MAGE_SMTP_HOST": "127.0.0.1",
        "MAGE_SMTP_PORT": str(mailbox.port),
        "MAGE_ALERT_FROM": "mage@example.org",
        "MAGE_ALERT_TO": "team@example.org",
    }
    with serving(tmp_path_factory.mktemp("mage"), archive.address, env=alerts) as running:
        yield running


def told_of(manifest: Manifest | None) -> dict[str, object]:
    """What a manifest says, but for what two runs need not share: times, and how the same rows were packed."""
    assert manifest is not None
    told: dict[str, object] = msgspec.to_builtins(manifest)
    return {name: value for name, value in told.items() if name not in {"started_at", "finished_at", "events_file"}}


def events_of(server: Server, hour: Hour) -> int:
    """How many events a stored hour has, compared in full with its manifest."""
    content = sound(server.lake, hour).content
    assert content is not None
    return content.events


def backfilled(server: Server, hours: HourRange) -> int:
    """Has the server backfill a range, and waits for the end of its runs."""
    client = server.client()
    number = client.start_backfill(hours)
    client.follow(number, lambda _: None, every=0.3)
    return number


def test_a_backfill_of_real_hours_leaves_the_lake_as_the_command_does(
    server: Server, files: Path, real_data: Path, tmp_path: Path
) -> None:
    for file in (real_data / "archive").glob("2015-01-01-*.json.gz"):
        (files / file.name).symlink_to(file)
    number = backfilled(server, REAL)
    runs = server.client().runs(number)
    assert sorted(map(hour_of, runs)) == list(REAL)
    assert {run["status"] for run in runs} == {"completed"}

    # The same archive by the same address, so that all a manifest tells is the same.
    done = etl(tmp_path, "backfill", REAL.first, REAL.last, "--source", server.sources, "--workers", 2, "--json")
    assert done.code == ExitCode.INCOMPLETE
    ours, theirs = server.lake, Lake.at(str(tmp_path / "lake"))
    for hour in REAL:
        assert told_of(ours.manifest(hour)) == told_of(theirs.manifest(hour))
    stored = [hour for hour in REAL if (manifest := ours.manifest(hour)) and manifest.status is Status.COMPLETE]
    assert list(map(str, stored)) == ["2015-01-01-0", "2015-01-01-4", "2015-01-01-15"]
    assert sum(events_of(server, hour) for hour in stored) == 24_922
    for hour in stored:
        assert stored_rows(ours, hour) == stored_rows(theirs, hour)
    # An hour that the archive does not have is noted, as its policy says, and no run fails of it.
    missing = ours.manifest(Hour.parse("2015-01-01-1"))
    assert missing is not None
    assert missing.status is Status.MISSING
    assert server.staged() == []


def test_the_command_asks_for_a_backfill_across_midnight_and_new_year(server: Server, tmp_path: Path) -> None:
    done = etl(
        tmp_path,
        *("mage", "backfill", MIDNIGHT.first, MIDNIGHT.last, "--address", server.address, "--json"),
        env={"MAGE_PASSWORD": PASSWORD},
    )
    assert done.code == ExitCode.OK, done.err
    assert msgspec.json.decode(done.out)["runs"] == {"completed": 4}
    assert {events_of(server, hour) for hour in MIDNIGHT} == {EVENTS}
    told = {key for key in objects(server.lake) if key.startswith(("events/date=2018", "events/date=2019-01"))}
    assert told == {events_key(hour) for hour in MIDNIGHT}

    wrong = etl(
        tmp_path,
        *("mage", "backfill", MIDNIGHT.first, MIDNIGHT.last, "--address", server.address),
        env={"MAGE_PASSWORD": "another"},
    )
    assert wrong.code == ExitCode.USAGE
    assert "invalid" in wrong.error
    down = etl(
        tmp_path,
        *("mage", "backfill", MIDNIGHT.first, MIDNIGHT.last, "--address", "http://127.0.0.1:9"),
        env={"MAGE_PASSWORD": PASSWORD},
    )
    assert down.code == ExitCode.SOURCE_UNREACHABLE


def test_a_bad_hour_fails_at_the_gate_is_reported_and_can_be_retried(
    server: Server, archive: FaultyServer, webhook: Webhook, mailbox: Mailbox
) -> None:
    before = {key: value for key, value in objects(server.lake).items() if str(BAD) not in key}
    webhook.received.clear()
    done = etl(
        server.folder,
        *("mage", "backfill", BAD, BAD, "--address", server.address),
        env={"MAGE_PASSWORD": PASSWORD},
    )
    assert done.code == ExitCode.INCOMPLETE
    assert f"1 of 1 run did not end well: {BAD}" in done.error
    (number,) = re.findall(r"backfill (\d+) of", done.out)
    client = server.client()
    assert client.counts(number).statuses == {"failed": 1}
    assert archive.counts.faults == {"truncated": 1}

    # The lake is as it was, but for the note that says why there are no events of this hour.
    now = objects(server.lake)
    assert {key: value for key, value in now.items() if str(BAD) not in key} == before
    assert [key for key in now if str(BAD) in key] == [manifest_key(BAD)]
    manifest = server.lake.manifest(BAD)
    assert manifest is not None
    assert (manifest.status, "partial: truncated" in str(manifest.reason)) == (Status.FAILED, True)
    assert server.staged() == []

    # A person hears of it: which pipeline, which hour, which block, and where to look.
    (alert,) = until(lambda: webhook.received, "the alert")
    text = msgspec.json.encode(alert).decode()
    for words in ("gharchive_hour failed", "2019-06-01 05:00:00", "enforce_schema", "https://mage.example.org/pipeli"):
        assert words in text
    (mail,) = until(lambda: mailbox.received, "the mail")
    assert (mail["From"], mail["To"]) == ("mage@example.org", "team@example.org")
    assert mail["Subject"] == "gharchive: gharchive_hour failed"
    assert "enforce_schema" in mail.get_content()

    # The archive has the whole file now; the button on the run's page does what the client does here.
    (run,) = client.runs(number)
    client._ask("PUT", f"pipeline_runs/{run['id']}", {"pipeline_run": {"pipeline_run_action": "retry_blocks"}})
    until(lambda: client.counts(number).statuses == {"completed": 1}, "the retried run")
    assert events_of(server, BAD) == EVENTS
    assert server.staged() == []


def test_without_a_login_the_api_answers_401(server: Server) -> None:
    for path in ("pipelines", "backfills", "files", "kernels", "pipeline_runs", "secrets", "scheduler", "users"):
        assert requests.get(f"{server.address}/api/{path}", timeout=20).status_code == 401, path
    # The key of Mage's own page is no login: it is the same everywhere.
    for path in ("pipelines", "backfills", "files", "kernels", "pipeline_runs", "secrets"):
        answer = requests.get(f"{server.address}/api/{path}", headers={"X-API-KEY": API_KEY}, timeout=20)
        assert answer.status_code == 401, path
        assert list(answer.json()) == ["error", "status"]
    posted = requests.post(f"{server.address}/api/pipelines/gharchive_hour/backfills", json={}, timeout=20)
    assert posted.status_code == 401
    with pytest.raises(UsageError, match="says no"):
        MageClient(server.address, "admin", "admin")


def test_secrets_are_neither_in_the_log_nor_on_other_addresses(server: Server) -> None:
    assert PASSWORD not in server.log
    assert (server.folder / "server" / "jwt-secret").stat().st_mode & 0o777 == 0o600
    assert (server.folder / "server" / "jwt-secret").read_text() not in server.log
    listening_on = {
        int(line.split()[1].partition(":")[0], 16)
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].partition(":")[2], 16) == server.port
    }
    assert listening_on == {0x0100007F}


def test_the_pages_show_the_pipelines_and_start_a_backfill(server: Server) -> None:
    with chromium() as browser:
        walk = Pages(
            browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US").new_page(), server.address
        )
        walk.sign_in()
        walk.pipelines("gharchive_hour", "gharchive_catch_up", "gharchive_warehouse", "gharchive_all")
        walk.graph("gharchive_hour", "fetch_hour", "enforce_schema", "publish_hour")
        walk.start_backfill(BY_PAGE)
        walk.await_done(len(BY_PAGE))
    stored = {key for key in objects(server.lake) if key.startswith(("events/date=2019-02", "events/date=2019-03"))}
    assert stored == {events_key(hour) for hour in BY_PAGE}
    for hour in BY_PAGE:
        sound(server.lake, hour)
