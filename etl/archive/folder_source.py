"""A folder as a source: hours that were downloaded before, or made for practice."""

from __future__ import annotations

import os
import stat
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO, Final

from etl.archive.sidecar import parse_companion
from etl.archive.source import (
    Body,
    ClosingBody,
    HourNotFound,
    NotModified,
    Promise,
    check_companion_size,
    companion_name,
    file_name,
)
from etl.errors import SourceUnreachableError
from etl.hours import Hour

_PLAIN_SUFFIX: Final = ".gz"
_ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class FolderSource:
    """Hours as files in one folder: ``2015-01-01-15.json.gz``, or else ``2015-01-01-15.json``.

    What is in a file is told by its bytes, not by its name.

    Args:
        address: The folder as a person typed it.
        folder: The folder.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address: Final = address
        self._folder = folder

    def url(self, hour: Hour) -> str:
        """The path of the hour's file."""
        return str(self._path(hour))

    def open(
        self,
        hour: Hour,
        *,
        start: int = 0,
        etag: str | None = None,  # noqa: ARG002 -- the caller compares the version it gets
        last_modified: str | None = None,  # noqa: ARG002
        unless_etag: str | None = None,
    ) -> Body:
        """Opens the file; see ``Source.open``."""
        path = self._path(hour)
        try:
            file = path.open("rb")
        except _ABSENT:
            raise HourNotFound(str(path)) from None
        except OSError as error:
            raise _unreadable(path, error) from error
        body = FolderBody(path, file, start)
        if unless_etag is not None and body.etag == unless_etag:
            body.close()
            raise NotModified
        return body

    def companion(self, hour: Hour) -> bytes | None:
        """Reads the manifest beside the hour; None when there is none."""
        path = self._folder / companion_name(hour)
        try:
            check_companion_size(str(path), path.stat().st_size)
            return path.read_bytes()
        except _ABSENT:
            return None
        except OSError as error:
            raise _unreadable(path, error) from error

    def exists(self, hour: Hour) -> bool:
        """Returns whether there is a file of the hour's name."""
        path = self._path(hour)
        try:
            return stat.S_ISREG(path.stat().st_mode)
        except _ABSENT:
            return False
        except OSError as error:
            raise _unreadable(path, error) from error

    def describe(self, hour: Hour, *, timeout: float) -> Promise | None:  # noqa: ARG002 -- a folder answers at once
        """Looks at the file and the manifest beside it; see ``Source.describe``."""
        path = self._path(hour)
        try:
            facts = path.stat()
        except _ABSENT:
            return None
        except OSError as error:
            raise _unreadable(path, error) from error
        if not stat.S_ISREG(facts.st_mode):
            return None
        sidecar = parse_companion(self.companion(hour) or b"")
        return Promise(facts.st_size, _version(facts), sidecar=sidecar, sidecar_asked=True)

    def _path(self, hour: Hour) -> Path:
        """The file of an hour; where there is none, the one that the archive's name would have."""
        named = self._folder / file_name(hour)
        plain = self._folder / file_name(hour).removesuffix(_PLAIN_SUFFIX)
        return plain if plain.is_file() and not named.exists() else named


class FolderBody(ClosingBody):
    """The bytes of a file."""

    def __init__(self, path: Path, file: BinaryIO, start: int) -> None:
        # The open file is asked, not the path: that one may be another file by now.
        facts = os.fstat(file.fileno())
        self.etag: str | None = _version(facts)
        self.last_modified: str | None = formatdate(facts.st_mtime, usegmt=True)
        self.size: int | None = facts.st_size
        self.start = file.seek(start)
        self.content_type: str | None = None
        self._path = path
        self._file = file

    def read(self, n: int) -> bytes:
        """Reads up to ``n`` bytes; see ``Body.read``."""
        try:
            return self._file.read(n)
        except OSError as error:
            raise _unreadable(self._path, error) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _version(facts: os.stat_result) -> str:
    return f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'


def _unreadable(path: Path, error: OSError) -> SourceUnreachableError:
    return SourceUnreachableError(f"{path} cannot be read: {error.strerror or 'input/output error'}")
