"""The program as a person or a scheduler meets it: exit codes, last words, and never a traceback."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from etl.errors import ExitCode
from etl.hours import Hour
from etl.practice.generator import write_hour

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
HOUR = "2015-01-01-15"
PARTS = ("--year=2015", "--month=1", "--day=1", "--hour=15")
EVENTS = 60
SECRET = "correct horse battery staple"  # noqa: S105 -- not a secret


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one practice hour."""
    folder = tmp_path_factory.mktemp("archive")
    write_hour(Hour.parse(HOUR), folder / f"{HOUR}.json.gz", events=EVENTS)
    return folder


class Program:
    """``python etl`` in a folder of its own."""

    def __init__(self, folder: Path, archive: Path) -> None:
        self.folder = folder
        self.archive = archive

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts it and does not wait."""
        return subprocess.Popen(
            [sys.executable, str(ROOT / "etl"), *words],
            cwd=self.folder,
            env=_clean_environment() | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        with self.start(*words, env=env) as process:
            out, err = process.communicate(timeout=120)
        done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
        assert "Traceback" not in err, err
        return done

    def fetch(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs the one hour there is."""
        return self(*PARTS, "--source", str(self.archive), *words, env=env)

    @property
    def events_file(self) -> Path:
        """Where the hour's events lie."""
        (file,) = (self.folder / "lake" / "events").rglob("*.parquet")
        return file


@pytest.fixture
def program(tmp_path: Path, archive: Path) -> Program:
    """The program in an empty folder."""
    return Program(tmp_path, archive)


def _clean_environment() -> dict[str, str]:
    theirs = ("GHARCHIVE_", "COLUMNS")
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith(theirs)}
    return ours | {"GHARCHIVE_ATTEMPTS": "1", "GHARCHIVE_CONNECT_TIMEOUT": "5", "GHARCHIVE_READ_TIMEOUT": "60"}


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1, done.stderr
    return error[0]


# ---- how it can be started


@pytest.mark.parametrize(
    ("start", "usage"),
    [
        (["etl"], "python etl"),
        (["-m", "etl"], "python -m etl"),
        (["-P", "etl"], "python etl"),
        (["-I", "etl"], "python etl"),
    ],
)
def test_it_starts_as_folder_and_as_module(start: list[str], usage: str) -> None:
    done = subprocess.run(
        [sys.executable, *start, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=_clean_environment(),
    )

    assert done.returncode == ExitCode.OK, done.stderr
    assert f"Usage: {usage} " in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("run", "--help")])
def test_a_help_imports_nothing_heavy_and_nothing_twice(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "etl", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    assert "etl.cli.main" in imported
    assert not imported & {"pyarrow", "requests", "pydantic", "structlog", "msgspec", "google.cloud.storage", "duckdb"}
    ours = {path.stem for path in (ROOT / "etl").iterdir() if path.stem not in {"__init__", "__main__"}}
    assert not imported & ours, "a module of ours would shadow another one of its name"


@pytest.mark.parametrize("start", [["etl"], ["-m", "etl"]])
def test_without_its_libraries_it_says_how_to_get_them(start: list[str]) -> None:
    done = subprocess.run([sys.executable, "-S", *start, *PARTS], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == ExitCode.USAGE
    assert "is not installed for" in _last_words(done)
    assert "make setup" in done.stderr
    assert ".venv/bin/python etl" in done.stderr
    assert "Traceback" not in done.stderr


# ---- exit codes


def test_done_and_nothing_to_do(program: Program) -> None:
    first = program.fetch()
    assert first.returncode == ExitCode.OK, first.stderr
    assert first.stdout.startswith(f"{HOUR} is complete: {EVENTS} events in ")
    assert str(program.events_file.relative_to(program.folder)) in first.stdout
    assert "PushEvent" in first.stdout
    written = program.events_file.stat().st_mtime_ns

    second = program.fetch()
    assert second.returncode == ExitCode.OK, second.stderr
    assert second.stdout.startswith(f"{HOUR} is complete already with {EVENTS} events; nothing was done")
    assert "--force" in second.stdout
    assert program.events_file.stat().st_mtime_ns == written


def test_the_manifest_for_a_program(program: Program) -> None:
    done = program.fetch("--json")

    assert done.returncode == ExitCode.OK, done.stderr
    manifest = json.loads(done.stdout)
    assert (manifest["hour"], manifest["status"], manifest["content"]["events"]) == (HOUR, "complete", EVENTS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (PARTS[:2], "missing: --day, --hour"),
        ((*PARTS, "--at", HOUR), "--at cannot be combined"),
        (("--at", "2015-02-30-1"), "invalid hour 2015-02-30-1"),
        (("--at", "2999-01-01-1"), "is in the future"),
        (("--at", HOUR, "--source", "./nowhere"), "is not an existing folder"),
        (("--at", HOUR, "--source", "ftp://a.example"), "ftp:// is not supported"),
        (("--at", HOUR, "--max-damage", "2"), "max_damage (from flag --max-damage) is '2'"),
        (("--at", HOUR, "--secrets-file", "nowhere.json"), "--secrets-file: no such file: nowhere.json"),
        (("status", "2015-01-02", "2015-01-01"), "the range ends"),
        (("show", HOUR), f"{HOUR} is not in the lake"),
        (("practice", "make", HOUR, HOUR), "--out"),
    ],
)
def test_usage(words: tuple[str, ...], message: str, program: Program) -> None:
    done = program(*words)

    assert done.returncode == ExitCode.USAGE
    assert message in _last_words(done)
    assert not done.stdout
    assert not (program.folder / "lake").exists()


def test_an_unknown_variable(program: Program) -> None:
    done = program("status", env={"GHARCHIVE_EMIAL_KEY": SECRET})

    assert done.returncode == ExitCode.USAGE
    assert "the environment has an unknown key GHARCHIVE_EMIAL_KEY" in _last_words(done)
    assert "hint: did you mean GHARCHIVE_EMAIL_KEY?" in done.stderr
    assert SECRET not in done.stderr


def test_not_published(program: Program, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = program("--at", HOUR, "--source", str(empty))

    assert done.returncode == ExitCode.NOT_PUBLISHED, done.stderr
    assert HOUR in _last_words(done)


def test_a_source_that_is_down(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = program("--at", HOUR, "--source", f"http://127.0.0.1:{port}")

    assert done.returncode == ExitCode.SOURCE_UNREACHABLE, done.stderr
    assert "connection refused" in _last_words(done)


def test_a_lake_that_cannot_be_written(program: Program) -> None:
    (program.folder / "lake").write_text("not an existing folder", encoding="utf-8")
    done = program.fetch()

    assert done.returncode == ExitCode.STORE_FAILED, done.stderr
    assert "lake" in _last_words(done)


def test_damage_is_stored_and_told(program: Program, archive: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    content = (archive / f"{HOUR}.json.gz").read_bytes()
    (broken / f"{HOUR}.json.gz").write_bytes(content[: len(content) * 2 // 3])
    done = program("--at", HOUR, "--source", str(broken), "--max-damage", "0")

    assert done.returncode == ExitCode.DAMAGED, done.stderr
    assert done.stdout.startswith(f"{HOUR} is partial: ")
    assert _last_words(done)
    shown = program("show", HOUR, "--quarantine", "3")
    assert shown.returncode == ExitCode.OK, shown.stderr
    assert "partial" in shown.stdout


def test_a_partial_hour_whose_file_is_the_same_is_reported_unchanged(
    program: Program, archive: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    lines = gzip.decompress((archive / f"{HOUR}.json.gz").read_bytes()).splitlines(keepends=True)
    (broken / f"{HOUR}.json.gz").write_bytes(gzip.compress(b"".join([*lines[1:], b'{"id": "1", \n'])))
    words = ("--at", HOUR, "--source", str(broken), "--max-damage", "0")
    first, again = program(*words), program(*words)

    assert (first.returncode, again.returncode) == (ExitCode.DAMAGED, ExitCode.DAMAGED), again.stderr
    assert first.stdout.startswith(f"{HOUR} is partial: ")
    assert re.match(rf"{HOUR} is partial already with \d+ events, and the source has nothing newer;", again.stdout)
    assert _last_words(again) == _last_words(first)


def test_a_smaller_hour_is_refused(program: Program, tmp_path: Path) -> None:
    assert program.fetch().returncode == ExitCode.OK
    smaller = tmp_path / "smaller"
    write_hour(Hour.parse(HOUR), smaller / f"{HOUR}.json.gz", events=EVENTS // 2)
    refused = program("--at", HOUR, "--source", str(smaller), "--refresh")

    assert refused.returncode == ExitCode.SHRINK_REFUSED, refused.stderr
    assert "--force" in refused.stderr
    forced = program("--at", HOUR, "--source", str(smaller), "--force")
    assert forced.returncode == ExitCode.OK, forced.stderr
    assert f"{EVENTS // 2} events" in forced.stdout


def test_a_stored_hour_that_was_tampered_with(program: Program) -> None:
    assert program.fetch().returncode == ExitCode.OK
    sound = program("verify", HOUR)
    assert (sound.returncode, sound.stdout) == (ExitCode.OK, f"{HOUR}: sound\n")

    content = bytearray(program.events_file.read_bytes())
    content[len(content) // 2] ^= 1
    program.events_file.write_bytes(content)
    bad = program("verify", HOUR)

    assert bad.returncode == ExitCode.VERIFY_FAILED
    assert "SHA-256 differs" in " ".join(bad.stdout.split())  # a long path breaks the line
    assert "1 of 1 hour does not match its manifest" in _last_words(bad)


# ---- being stopped


@pytest.fixture
def stalling_server() -> Iterator[tuple[str, threading.Event]]:
    """A source that sends a few bytes of an hour, says so, and then nothing more."""
    asked, over = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"\x1f\x8b\x08\x00")
            self.wfile.flush()
            asked.set()
            over.wait(60)

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        over.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_line(
    number: signal.Signals, program: Program, stalling_server: tuple[str, threading.Event]
) -> None:
    address, asked = stalling_server
    with program.start("--at", HOUR, "--source", address) as process:
        assert asked.wait(60)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)

    assert process.returncode == ExitCode.INTERRUPTED, err
    assert "error: interrupted" in err
    assert "Traceback" not in err
    assert not list(program.folder.rglob("*.parquet"))


def test_a_reader_that_goes_away_is_no_error(program: Program) -> None:
    with program.start("schema", "--format", "bigquery") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=60)

    assert process.returncode == ExitCode.OK
    assert not err


@pytest.mark.needs("linux")  # /dev/full
@pytest.mark.parametrize("where", ["> /dev/full", "2> /dev/full", "> /dev/full 2>&1", ">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("words", ["schema", "status", "--help", "stauts"])
def test_output_that_cannot_be_written_gives_no_traceback(where: str, words: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" "$1" {words} {where}', sys.executable, str(ROOT / "etl")],
        cwd=tmp_path,
        # What is buffered is written late, when the exit code may be decided already.
        env={name: value for name, value in _clean_environment().items() if name != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if words == "stauts":
        assert done.returncode == ExitCode.USAGE
    elif where.startswith("> /dev/full"):
        assert done.returncode == ExitCode.UNEXPECTED
        told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert ["No space left on device" in line for line in told] == [True] * ("2>&1" not in where)
    else:
        assert done.returncode == ExitCode.OK


# ---- defects


def test_a_defect_is_reported_without_a_traceback_unless_asked_for(program: Program) -> None:
    code = (
        "import sys; from etl.lake.lake import Lake; from etl.cli.main import main\n"
        "def broken(self, hour): raise RuntimeError('of joe.bloggs@example.com')\n"
        "Lake.manifest = broken\n"
        "sys.exit(main(sys.argv[1:], prog_name='etl'))"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=program.folder,
            env=_clean_environment() | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    plain, debug = run("show", HOUR), run("show", HOUR, "--log-level", "debug")

    assert plain.returncode == debug.returncode == ExitCode.UNEXPECTED
    assert "unexpected error: RuntimeError in cli/show.py" in _last_words(plain)
    assert "--log-level debug" in plain.stderr
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert "joe" not in plain.stderr + debug.stderr


def test_where_logs_are_json_so_are_the_last_words(program: Program, tmp_path: Path) -> None:
    done = program("--at", HOUR, "--source", str(tmp_path), "--log-format", "json")

    assert done.returncode == ExitCode.NOT_PUBLISHED
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert (lines[-1]["severity"], lines[-1]["exit_code"]) == ("ERROR", ExitCode.NOT_PUBLISHED)
    assert HOUR in lines[-1]["message"]


# ---- looking


def test_show_tells_all_and_some_events(program: Program) -> None:
    assert program.fetch().returncode == ExitCode.OK
    shown = program("show", HOUR, "--events", "3")

    assert shown.returncode == ExitCode.OK, shown.stderr
    for text in ("complete", "SHA-256", "actor_login", "2015-01-01 15:00"):
        assert text in shown.stdout


def test_an_hour_without_events_has_no_times_and_no_types(program: Program, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / f"{HOUR}.json.gz").write_bytes(gzip.compress(b""))
    done = program("--at", HOUR, "--source", str(empty))
    assert done.stdout.startswith(f"{HOUR} is suspect: 0 events in "), done.stderr
    for shown in (done, program("show", HOUR)):
        assert "created" not in shown.stdout
        assert "events/s" not in shown.stdout
        assert "share" not in shown.stdout


def test_show_for_a_program(program: Program) -> None:
    assert program.fetch().returncode == ExitCode.OK
    manifest = json.loads(program("--at", HOUR, "--format", "json").stdout)
    told = json.loads(program("show", HOUR, "--events", "4", "--quarantine", "4", "--format", "json").stdout)
    assert told["manifest"] == manifest
    assert told["events_file"].endswith(f"{HOUR}.parquet")
    assert len({event["type"] for event in told["events"]}) == 4
    assert told["events"][0]["created_at"].startswith("2015-01-01T15:")
    assert told["quarantine"] == []


def test_a_terminal_is_shown_a_table_of_the_schema_and_a_pipe_gets_markdown(program: Program) -> None:
    piped = program("schema")
    assert piped.stdout.startswith("| column | type | description |\n|---|---|---|\n")
    primary, secondary = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(ROOT / "etl"), "schema"],
        cwd=program.folder,
        env=_clean_environment() | {"TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=secondary,
    ) as process:
        os.close(secondary)
        seen = b""
        with suppress(OSError):  # Linux's way to say that the other side has closed.
            while piece := os.read(primary, 1 << 16):
                seen += piece
    os.close(primary)
    assert process.returncode == ExitCode.OK
    assert b"created_at" in seen
    assert b"|---|" not in seen


def test_schema_in_all_words(program: Program) -> None:
    for form in ("json", "bigquery", "spark"):
        json.loads(program("schema", "--format", form).stdout)
    for form in ("markdown", "arrow"):
        assert "created_at" in program("schema", "--format", form).stdout


def test_both_spellings_of_sources_work(program: Program) -> None:
    for words, env in (
        (("--source", "a", "--source", "b"), {}),
        (("--sources", "a,b"), {}),
        (("--sources", "a", "--source", "b"), {}),
        ((), {"GHARCHIVE_SOURCE": "a,b"}),
        ((), {"GHARCHIVE_SOURCES": "a,b"}),
    ):
        told = json.loads(program("settings", "--json", *words, env=env).stdout)
        assert next(each["value"] for each in told if each["name"] == "sources") == ["a", "b"], words
    both = program("settings", env={"GHARCHIVE_SOURCE": "a", "GHARCHIVE_SOURCES": "b"})
    assert both.returncode == ExitCode.USAGE
    assert "sets both GHARCHIVE_SOURCE and GHARCHIVE_SOURCES" in _last_words(both)


def test_settings_say_where_they_come_from(program: Program) -> None:
    (program.folder / ".env").write_text("GHARCHIVE_EMAILS=drop\nGHARCHIVE_LAKE=from-env-file\n", encoding="utf-8")
    (program.folder / "secrets.json").write_text(json.dumps({"email_key": SECRET}), encoding="utf-8")
    done = program("settings", "--format", "json", "--max-damage", "2%", env={"GHARCHIVE_LAKE": "from-environment"})

    assert done.returncode == ExitCode.OK, done.stderr
    told = {row["name"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}
    assert told["max_damage"] == (0.02, "flag --max-damage")
    assert told["lake"] == ("from-environment", "environment GHARCHIVE_LAKE")
    assert told["emails"] == ("drop", ".env")
    assert told["email_key"] == ("********", "secrets.json")
    assert told["read_timeout"] == (60.0, "environment GHARCHIVE_READ_TIMEOUT")
    assert told["young_hours"] == (168, "default")
    table = program("settings")
    assert "secrets.json" in table.stdout
    assert SECRET not in done.stdout + table.stdout + table.stderr


def test_practice_makes_what_run_can_read(program: Program) -> None:
    made = program("practice", "make", HOUR, "2015-01-01-16", "--out", "practice", "--events", "20")
    assert (made.returncode, made.stdout) == (ExitCode.OK, "2 hours are in practice\n")

    done = program("--at", "2015-01-01-16", "--source", "practice")
    assert done.returncode == ExitCode.OK, done.stderr
    assert "2015-01-01-16 is complete: 20 events" in done.stdout


def test_demo_works_twice_without_a_network(program: Program) -> None:
    first, second = program("demo", "--practice"), program("demo", "--practice")

    assert first.returncode == second.returncode == ExitCode.OK, first.stderr + second.stderr
    assert f"demo: {HOUR} of the practice archive (asked for)" in first.stdout
    assert f"{HOUR} is complete: " in first.stdout
    assert f"{HOUR} is complete already" in second.stdout
    for done in (first, second):
        assert "read_parquet('demo/lake/events/*/*/*.parquet'" in done.stdout
        assert (program.folder / "demo/report.html").as_uri() in done.stdout
    assert "Tables of 2015-01-01 are in demo/warehouse: 0 partitions made" in second.stdout
    assert "WatchEvent" in (program.folder / "demo/report.html").read_text("utf-8")
    assert {path.name for path in program.folder.iterdir()} & {"lake", "warehouse", "report.html"} == set()


def test_demo_takes_the_first_source_that_answers(program: Program, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = program("demo", "--source", str(empty), "--source", str(program.archive))

    assert done.returncode == ExitCode.OK, done.stderr
    assert f"demo: {HOUR} from {program.archive}" in done.stdout
    assert program.events_file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_practice_archive_serves_until_it_is_stopped(number: signal.Signals, program: Program) -> None:
    with program.start("practice", "serve", "--port", "0", "--events", "20", "--to", HOUR) as server:
        assert server.stdout is not None
        address = server.stdout.readline().rpartition("--source ")[2].strip()
        fetched = program("--at", HOUR, "--source", address)
        later = program("--at", "2015-01-01-16", "--source", address)
        server.send_signal(number)
        _, err = server.communicate(timeout=60)

    assert fetched.returncode == ExitCode.OK, fetched.stderr
    assert later.returncode == ExitCode.NOT_PUBLISHED, later.stderr
    assert server.returncode == ExitCode.OK, err
    assert not err


@pytest.mark.parametrize("error", ["MemoryError()", 'RuntimeError("can\'t start new thread")'])
def test_a_lack_of_memory_is_reported_as_one(error: str, program: Program) -> None:
    code = (
        "import sys; from etl.lake.lake import Lake; from etl.cli.main import main\n"
        f"def broken(self, hour): raise {error}\n"
        "Lake.manifest = broken\n"
        "sys.exit(main(sys.argv[1:], prog_name='etl'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "show", HOUR],
        cwd=program.folder,
        env=_clean_environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.UNEXPECTED
    assert done.stderr.startswith("error: out of memory\nhint: ")
