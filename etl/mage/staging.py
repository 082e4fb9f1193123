"""The staging folder: a local folder that holds an hour between two blocks; nothing stays in it.

Each hour of each run has its own folder. The step that finishes an hour, or fails, removes it. The rest of a killed run
is removed by the next fetch, once it is older than any run may last, and when the server starts.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from etl.archive.folder_source import FolderBody
from etl.archive.sidecar import SidecarManifest, parse_sidecar
from etl.archive.source import Body, HourNotFound, NotModified, Promise, Source, file_name
from etl.errors import SourceUnreachableError, StoreError
from etl.hours import Hour
from etl.lake.manifest import SourceAnswer, SourceReply
from etl.mage.task_payload import Origin, TaskPayload

STALE_SECONDS: Final = 12 * 3600.0
"""Age of a folder that belongs to a killed run: no trigger's timeout is longer."""

_LAKE: Final = "lake"


class StagingFolder:
    """A staging folder.

    Args:
        root: Its path; created when needed.
    """

    def __init__(self, root: Path) -> None:
        self.root: Final = root

    def folder(self, payload: TaskPayload) -> Path:
        """Returns the folder of one hour of one run."""
        return self.root / payload.run / payload.hour

    def file(self, payload: TaskPayload) -> Path:
        """Returns the path of the source's file."""
        return self.folder(payload) / file_name(payload.the_hour)

    def lake(self, payload: TaskPayload) -> Path:
        """Returns the folder of the temporary lake that holds this hour alone."""
        return self.folder(payload) / _LAKE

    def made(self, payload: TaskPayload) -> Path:
        """Creates and returns the folder for one hour of one run.

        Raises:
            StoreError: If it cannot be made.
        """
        folder = self.folder(payload)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the staging folder {self.root} cannot be written: {error.strerror or type(error).__name__}",
                hint="name another folder by the setting `spool`",
            ) from error
        return folder

    def discard(self, payload: TaskPayload) -> None:
        """Removes the folder of one hour of one run."""
        folder = self.folder(payload)
        shutil.rmtree(folder, ignore_errors=True)
        # The run's own folder goes with its last hour.
        with suppress(OSError):
            folder.parent.rmdir()

    def sweep(self, *, older_than: float = STALE_SECONDS) -> list[str]:
        """Removes leftovers; returns their names.

        Args:
            older_than: Seconds without a change; 0 removes everything, for when no run can be active.
        """
        swept = []
        for folder in self._folders():
            if time.time() - touched(folder) >= older_than:
                shutil.rmtree(folder, ignore_errors=True)
                swept.append(f"{folder.parent.name}/{folder.name}")
                with suppress(OSError):
                    folder.parent.rmdir()
        return swept

    def _folders(self) -> Iterator[Path]:
        with suppress(FileNotFoundError):
            for run in sorted(self.root.iterdir()):
                if run.is_dir():
                    yield from sorted(folder for folder in run.iterdir() if folder.is_dir())


class StagedSource:
    """A staged file that reports the properties its source reported.

    Args:
        file: The file.
        origin: Its origin.
    """

    def __init__(self, file: Path, origin: Origin) -> None:
        self.address: Final = origin.source
        self._file = file
        self._origin = origin

    def url(self, hour: Hour) -> str:  # noqa: ARG002 -- there is one hour here
        """Returns the address of the original file."""
        return self._origin.url

    def open(
        self,
        hour: Hour,  # noqa: ARG002
        *,
        start: int = 0,
        etag: str | None = None,  # noqa: ARG002 -- there is one version here
        last_modified: str | None = None,  # noqa: ARG002
        unless_etag: str | None = None,
    ) -> Body:
        """Opens the file; see ``Source.open``."""
        if unless_etag is not None and unless_etag == self._origin.etag:
            raise NotModified
        try:
            return _StagedBody(self._file, start, self._origin)
        except FileNotFoundError:
            raise HourNotFound(str(self._file)) from None
        except OSError as error:
            raise SourceUnreachableError(f"{self._file} cannot be read: {error.strerror or 'input error'}") from error

    def sidecar(self, hour: Hour) -> bytes | None:  # noqa: ARG002
        """Returns the sidecar manifest of the file; None if there was none."""
        if not self._origin.sidecar:
            return None
        count = "" if self._origin.event_count is None else f'"event_count": {self._origin.event_count}, '
        return f'{{{count}"sha256": "{self._origin.sha256}"}}'.encode()

    def exists(self, hour: Hour) -> bool:  # noqa: ARG002
        """Returns whether the file is there."""
        return self._file.is_file()

    def describe(self, hour: Hour, *, timeout: float) -> Promise | None:  # noqa: ARG002 -- a file answers at once
        """Returns what the source announced about the file; None if the file is gone."""
        sidecar = parse_sidecar(self.sidecar(hour) or b"")
        return (
            Promise(self._origin.bytes, self._origin.etag, sidecar, sidecar_asked=True) if self.exists(hour) else None
        )


class RememberedSource:
    """A source whose answer about an hour is known, and that is not asked again.

    Args:
        source: The source.
        answer: Its answer.
    """

    def __init__(self, source: Source, answer: SourceAnswer) -> None:
        self.address: Final = source.address
        self._answer = answer
        self.url: Final = source.url
        self.open: Final = source.open
        self.sidecar: Final = source.sidecar
        self.exists: Final = source.exists

    def describe(self, hour: Hour, *, timeout: float) -> Promise | None:  # noqa: ARG002 -- it is known
        """Returns the recorded answer; see ``Source.describe``."""
        answer = self._answer
        if answer.answer is SourceReply.DOWN:
            raise SourceUnreachableError(answer.cause or f"{answer.address} was down")
        if answer.answer is SourceReply.ABSENT:
            return None
        sidecar = None
        if answer.promised_events is not None:
            sidecar = SidecarManifest(answer.promised_events, answer.bytes, answer.sha256)
        return Promise(answer.bytes, answer.etag, sidecar=sidecar, sidecar_asked=sidecar is not None)


class _StagedBody(FolderBody):
    """The bytes of the file, with the version of its source."""

    def __init__(self, file: Path, start: int, origin: Origin) -> None:
        super().__init__(file, file.open("rb"), start)
        self.etag = origin.etag
        self.last_modified = origin.last_modified


def touched(folder: Path) -> float:
    """Returns when anything in a folder was last changed, in seconds since 1970."""
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)
