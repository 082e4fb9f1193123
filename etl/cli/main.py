"""The command-line program: its commands, and the one place that turns errors into messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import rich_click as click

from etl import __version__
from etl.cli import missing_extras
from etl.cli.backfill import backfill, catch_up
from etl.cli.build import build
from etl.cli.command_base import Front
from etl.cli.demo import demo
from etl.cli.doctor import doctor
from etl.cli.load import load
from etl.cli.mage import mage
from etl.cli.practice import practice
from etl.cli.report import report, serve
from etl.cli.run import run
from etl.cli.schema import schema
from etl.cli.settings import settings
from etl.cli.show import show
from etl.cli.status import status
from etl.cli.submit import submit
from etl.cli.verify import verify
from etl.errors import EtlError, ExitCode
from etl.runtime.arrow_memory import keep_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_PANELS: Final = {
    "Fetch hours": (run, backfill, catch_up, mage, demo),
    "Inspect the lake": (status, show, verify, schema),
    "Build tables and reports": (build, load, report, serve),
    "Run in the cloud": (submit,),
    "Tools": (settings, doctor, practice),
}


@click.group(
    cls=Front,
    default="run",
    default_if_no_args=True,
    examples=(
        ("--year=2015 --month=1 --day=1 --hour=15", "fetch one hour into lake/ (run is the default command)"),
        ("", "fetch the newest published hour"),
        ("demo", "try everything, with or without a network"),
        ("status", "show what the lake holds"),
        ("run --help", "list all options of the default command"),
    ),
    context_settings={"help_option_names": ["-h", "--help"], "rich_help_config": {"text_markup": "rich"}},
)
@click.version_option(__version__, "-V", "--version", prog_name="gharchive-etl", message="%(prog)s %(version)s")
def front() -> None:
    """Turn GitHub's public history (GH Archive) into a lake of parquet hours with one schema for all years.

    Hours are written as the archive names them: 2015-01-01-15 (UTC).
    """
    keep_memory()


for _panel, _commands in _PANELS.items():
    for _command in _commands:
        _command.panel = _panel
        front.add_command(_command)


def main(args: Sequence[str] | None = None, *, prog_name: str | None = None) -> int:
    """Runs the program.

    Args:
        args: The arguments; None for those of the process.
        prog_name: Name of the program in its messages; None to detect it.

    Returns:
        The exit code (``etl.errors.ExitCode``).
    """
    _mend_streams()
    try:
        with _stopped_by_sigterm():
            return _flushed(_run(args, prog_name))
    except KeyboardInterrupt:
        return _flushed(_interrupted())


def _flushed(code: int) -> int:
    """Flushes the standard streams and returns the exit code.

    Python would flush after the exit code is decided, and exit with 120 if that fails.
    """
    error = _flush(sys.stdout)
    if error is not None and not isinstance(error, BrokenPipeError) and code == ExitCode.OK:
        code = _output_failed(error)
    _flush(sys.stderr)  # If this fails, there is nowhere to report it.
    return code


def _flush(stream: TextIO) -> OSError | None:
    """Flushes a standard stream; if that fails, redirects it to the null device.

    Returns:
        The error; None if there was none.
    """
    try:
        stream.flush()
    except OSError as error:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        return error
    return None


def _output_failed(error: OSError) -> int:
    why = error.strerror or type(error).__name__
    return _refuse(f"cannot write to standard output: {why}", None, ExitCode.UNEXPECTED)


def _mend_streams() -> None:
    """Makes writing safe if a standard stream is closed or its encoding lacks a character."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # It was closed before the program started.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 -- open to the end
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _run(args: Sequence[str] | None, prog_name: str | None) -> int:
    try:
        outcome: Any = front.main(args, prog_name, standalone_mode=False)
    except click.Abort:
        return _interrupted()
    except SystemExit as error:
        # click exits this way if the reader of the output has gone.
        if isinstance(error.__context__, BrokenPipeError):
            return ExitCode.OK
        return error.code if isinstance(error.code, int) else ExitCode.UNEXPECTED
    except Exception as error:  # noqa: BLE001 -- the last place to report a bug without a traceback
        return _explained(error, sys.argv[1:] if args is None else args)
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _explained(error: Exception, args: Sequence[str]) -> int:
    if isinstance(error, BrokenPipeError):
        return ExitCode.OK  # The reader of the output has gone; the work itself was done.
    if isinstance(error, OSError) and (failed := _flush(sys.stdout)) is not None:
        return _output_failed(failed)
    if isinstance(error, ModuleNotFoundError):
        error = missing_extras.explained(error) or error
    if isinstance(error, EtlError):
        return _refuse(error.message, error.hint, error.exit_code)
    if isinstance(error, click.ClickException):
        return _refuse(error.format_message(), _usage_hint(error, args), ExitCode.USAGE)
    return _unexpected(error)


def _usage_hint(error: click.ClickException, args: Sequence[str]) -> str | None:
    context = getattr(error, "ctx", None)
    if context is None:
        return None
    late = next((word for word in args[1:] if word in front.commands), None)
    if late is not None and args[0].startswith("-"):
        return f"put options after the command: `{context.find_root().info_name} {late} ...`"
    return f"`{context.command_path} --help` lists all options, with examples"


def _unexpected(error: Exception) -> int:
    from etl.runtime import logs

    if isinstance(error, MemoryError) or str(error) == "can't start new thread":
        return _refuse(
            "out of memory",
            "raise the limit (`ulimit -v`, or the container's), or do less at once: fewer days or workers",
            ExitCode.UNEXPECTED,
        )
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in Path(frame.filename).parents]
    where = f" in {Path(ours[-1].filename).relative_to(_PACKAGE)}, line {ours[-1].lineno}" if ours else ""
    if logs.shows_debug():
        _write("".join(traceback.format_exception(error)))
    # Only the operating system's reason is shown: any other text of an error may contain part of an event.
    why = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return _refuse(
        f"unexpected error: {type(error).__name__}{why}{where}",
        None if logs.shows_debug() else "run again with --log-level debug to see the traceback",
        ExitCode.UNEXPECTED,
    )


def _refuse(message: str, hint: str | None, code: ExitCode) -> int:
    """Prints an error, without any e-mail address, and returns the exit code."""
    logs = sys.modules.get("etl.runtime.logs")
    if logs is not None and logs.writes_json():
        import structlog

        structlog.get_logger(__name__).error(_scrubbed(message), hint=hint and _scrubbed(hint), exit_code=int(code))
        return code
    _write(click.style("error: ", fg="red", bold=True) + message + "\n")
    if hint:
        _write(click.style("hint: ", fg="cyan", bold=True) + hint + "\n")
    return code


def _write(text: str) -> None:
    """Writes to standard error. If that fails, only the exit code reports the error."""
    try:
        click.echo(_scrubbed(text), err=True, nl=False)
    except OSError:
        _flush(sys.stderr)


def _scrubbed(text: str) -> str:
    if "@" not in text:
        return text
    from etl.events.emails import scrub_text

    return scrub_text(text)


def _interrupted() -> int:
    return _refuse(
        "interrupted", "no hour was left half written; run the command again to resume", ExitCode.INTERRUPTED
    )


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM end the program like Ctrl-C, so that resources are released; a second SIGTERM kills it."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
