"""Google Cloud Storage: addresses, client, and translation of errors.

The client library is only imported when a ``gs://`` address is used, so it is not required for folders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from etl.errors import ConflictError, EtlError, StoreError, UsageError, missing_extra

if TYPE_CHECKING:
    from google.cloud.storage import Client

SCHEME: Final = "gs://"

_ADDRESS: Final = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<prefix>.*))?", re.ASCII)
LOGIN: Final = "run: gcloud auth application-default login"
"""Hint for missing or rejected credentials."""


def is_address(text: str) -> bool:
    """Returns whether the text is a ``gs://`` address rather than a folder."""
    return text.startswith(SCHEME)


def split(address: str) -> tuple[str, str]:
    """Splits ``gs://bucket/some/prefix/`` into ``("bucket", "some/prefix")``; the prefix may be empty.

    Raises:
        UsageError: If it is not such an address, or the bucket's name is invalid.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UsageError(
            f"{address!r} is not a valid Google Cloud Storage address",
            hint="use gs://bucket/prefix; a bucket name has at least 3 characters of a-z, 0-9, '-', '_', '.'",
        )
    return match["bucket"], (match["prefix"] or "").strip("/")


def client() -> Client:
    """Returns a client with the machine's default credentials, or a client for the emulator.

    If ``STORAGE_EMULATOR_HOST`` is set, no credentials are used. A client must not be used in a forked process.

    Raises:
        UsageError: If google-cloud-storage is not installed.
        StoreError: If there are no default credentials.
    """
    try:
        from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
        from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415
        from google.cloud.storage import Client  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra(f"google-cloud-storage, which {SCHEME} addresses need,", "gcp") from error
    # Otherwise the client requests the bucket's metadata for traces that nobody records. That needs a permission which
    # neither readers nor writers of objects have.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    try:
        # Object requests need no project; without None the client would try to find one.
        return Client(project=None)
    except DefaultCredentialsError as error:
        raise StoreError("no Google Cloud credentials found on this machine", hint=LOGIN) from error


@contextmanager
def explained(
    address: str,
    *,
    failed: type[EtlError] = StoreError,
    absent: type[EtlError] | None = None,
) -> Iterator[None]:
    """Translates exceptions of the Google libraries inside the block into user-facing errors with the address.

    Args:
        address: The object, prefix or bucket concerned.
        failed: Class of the error to raise.
        absent: Class of the error to raise on 404; None for ``failed``.

    Raises:
        ConflictError: On 412: the object does not have the required generation.
        EtlError: Of class ``failed`` or ``absent`` for all other failures.
    """
    from google.api_core.exceptions import GoogleAPICallError, RetryError  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError, TransportError  # noqa: PLC0415
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse  # noqa: PLC0415
    from requests.exceptions import RequestException  # noqa: PLC0415

    try:
        yield
    except GoogleAPICallError as error:
        _close_answer(error)
        raise _of_status(error.code, address, failed, absent or failed) from error
    except InvalidResponse as error:
        _close_answer(error)
        raise _of_status(error.response.status_code, address, failed, absent or failed) from error
    except DataCorruption as error:
        raise failed(
            f"{address} was corrupted in transit: its checksum does not match",
            hint="try again",
        ) from error
    except (RetryError, TransportError, RequestException, ConnectionError) as error:
        _close_answer(error)
        raise failed(
            f"cannot reach {address} ({type(error).__name__}) after retries",
            hint="check the network and https://status.cloud.google.com, then try again",
        ) from error
    except GoogleAuthError as error:
        raise failed(f"the Google Cloud credentials were rejected for {address}", hint=LOGIN) from error


def _close_answer(error: Exception) -> None:
    """Closes the connection of a rejected download, which the library leaves open until garbage collection."""
    for met in (error, error.__cause__):
        answer = getattr(met, "response", None)
        if answer is not None:
            answer.close()


def _of_status(code: int | None, address: str, failed: type[EtlError], absent: type[EtlError]) -> EtlError:
    if code == HTTPStatus.NOT_FOUND:
        return absent(
            f"{address} does not exist",
            hint="check the name; to create a bucket, run: gcloud storage buckets create gs://NAME",
        )
    if code == HTTPStatus.PRECONDITION_FAILED:
        return ConflictError(
            f"{address} was changed by another writer in the meantime; nothing was overwritten",
            hint="run it again if the other run did not do the same work",
        )
    if code == HTTPStatus.UNAUTHORIZED:
        return failed(f"the Google Cloud credentials were rejected for {address}", hint=LOGIN)
    if code == HTTPStatus.FORBIDDEN:
        return failed(
            f"permission denied for {address}",
            hint="grant this account roles/storage.objectUser on the bucket (objectViewer for read-only access)",
        )
    return failed(
        f"Google Cloud Storage returned HTTP {code} for {address}",
        hint="try again; if the error persists, check the bucket",
    )
