"""Google Cloud Storage for the rooms that read or write it: addresses, a client, errors a person can act on.

The library is imported when the first ``gs://`` address is used, never before: who keeps everything in a
folder needs no cloud library.
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
"""What helps who has no credentials."""


def is_address(text: str) -> bool:
    """Whether the text names a place in a bucket rather than a folder."""
    return text.startswith(SCHEME)


def split(address: str) -> tuple[str, str]:
    """Splits ``gs://bucket/some/prefix/`` into ``("bucket", "some/prefix")``; the prefix may be empty.

    Raises:
        UsageError: If it is no such address, or the bucket's name is none that Google allows.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UsageError(
            f"{address!r} is not an address in Google Cloud Storage",
            hint="write it as gs://bucket/prefix; a bucket's name has 3 or more of a-z, 0-9, '-', '_', '.'",
        )
    return match["bucket"], (match["prefix"] or "").strip("/")


def client() -> Client:
    """Makes a client with the machine's default credentials, or one for the emulator.

    With ``STORAGE_EMULATOR_HOST`` set no credentials are looked for. A client is not to be carried into a
    forked process.

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
    # Else the client asks for the bucket's own metadata behind our back, to decorate traces that nobody
    # records; that takes a right which neither readers nor writers of objects have.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    try:
        # Objects are named by their bucket alone; a project would only be asked for in vain.
        return Client(project=None)
    except DefaultCredentialsError as error:
        raise StoreError("there are no Google Cloud credentials on this machine", hint=LOGIN) from error


@contextmanager
def explained(
    address: str,
    *,
    failed: type[EtlError] = StoreError,
    absent: type[EtlError] | None = None,
) -> Iterator[None]:
    """Turns what the Google libraries raise inside the block into an error for people that names the address.

    Args:
        address: The object, prefix or bucket in question.
        failed: What to raise; a room that only reads a source may want another class than ``StoreError``.
        absent: What to raise on 404, when that is to be told from other failures.

    Raises:
        ConflictError: On 412: a generation was demanded, and the object has another one.
        EtlError: Of the class ``failed`` or ``absent`` on everything else that went wrong.
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
            f"{address} arrived damaged: its checksum is not the one computed on the way",
            hint="run it again",
        ) from error
    except (RetryError, TransportError, RequestException, ConnectionError) as error:
        _close_answer(error)
        raise failed(
            f"{address} could not be reached ({type(error).__name__}), retries included",
            hint="check the network and https://status.cloud.google.com, then run it again",
        ) from error
    except GoogleAuthError as error:
        raise failed(f"the Google Cloud credentials are not accepted for {address}", hint=LOGIN) from error


def _close_answer(error: Exception) -> None:
    """Frees the connection of a download that was refused; the library leaves it open until it is collected."""
    for met in (error, error.__cause__):
        answer = getattr(met, "response", None)
        if answer is not None:
            answer.close()


def _of_status(code: int | None, address: str, failed: type[EtlError], absent: type[EtlError]) -> EtlError:
    if code == HTTPStatus.NOT_FOUND:
        return absent(
            f"{address} does not exist",
            hint="check the name; a bucket is made with: gcloud storage buckets create gs://NAME",
        )
    if code == HTTPStatus.PRECONDITION_FAILED:
        return ConflictError(
            f"{address} was changed by another writer in the meantime; nothing was overwritten",
            hint="run it again if the other run did not do the same work",
        )
    if code == HTTPStatus.UNAUTHORIZED:
        return failed(f"the Google Cloud credentials are not accepted for {address}", hint=LOGIN)
    if code == HTTPStatus.FORBIDDEN:
        return failed(
            f"access to {address} is refused",
            hint="grant the account this runs as roles/storage.objectUser on the bucket (objectViewer to read only)",
        )
    return failed(
        f"Google Cloud Storage answered {code} for {address}", hint="run it again; if it stays, check the bucket"
    )
