"""Creates sources from addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from etl.archive.folder_source import FolderSource
from etl.archive.gcs_source import GcsSource
from etl.archive.source import (
    Source,
    mask_credentials,
)
from etl.errors import UsageError

CONNECT_TIMEOUT: Final = 10.0
READ_TIMEOUT: Final = 60.0
_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_FORMS: Final = "a source is https://host/path, http://host/path, gs://bucket/prefix or an existing folder"


def source_at(address: str, *, connect_timeout: float = CONNECT_TIMEOUT, read_timeout: float = READ_TIMEOUT) -> Source:
    """Returns the source for an address. Nothing is requested yet.

    Args:
        address: An ``https://``, ``http://``, ``gs://`` or ``file://`` address, or the path of a folder.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the response headers, and for each 64 KiB of a body.

    Raises:
        UsageError: If the address has another form, or the folder does not exist.
        StoreError: If the address is a bucket and there are no credentials.
    """
    address = address.strip()
    match = _SCHEME.match(address)
    scheme = "" if match is None else match["scheme"].lower()
    if scheme in {"http", "https"}:
        # Importing its dependencies takes a tenth of a second, which folder sources do not need.
        from etl.archive.http_source import HttpSource  # noqa: PLC0415

        return HttpSource(address.rstrip("/"), connect_timeout=connect_timeout, read_timeout=read_timeout)
    if scheme == "gs":
        return GcsSource(address.rstrip("/"), timeout=read_timeout)
    if scheme in {"", "file"}:
        return _folder_at(address, scheme)
    raise UsageError(f"cannot use {mask_credentials(address)} as a source: {scheme}:// is not supported", hint=_FORMS)


def _folder_at(address: str, scheme: str) -> Source:
    if not address:
        raise UsageError("the source address is empty", hint=_FORMS)
    folder = Path(address).expanduser() if scheme == "" else _path_of_url(address)
    if not folder.is_dir():
        raise UsageError(f"source {address} is not an existing folder", hint=_FORMS)
    return FolderSource(address.rstrip("/") or "/", folder)


def _path_of_url(address: str) -> Path:
    parts = urlsplit(address)
    if parts.netloc not in {"", "localhost"}:
        raise UsageError(
            f"{address} points to another machine", hint="use three slashes for a local folder: file:///path"
        )
    return Path(unquote(parts.path))
