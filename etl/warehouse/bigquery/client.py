"""BigQuery's client and its jobs: each is retried if that can help, and its errors are explained.

A job that fails changes nothing (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job: a write is "atomic and
only occurs if BigQuery is able to complete the job successfully"), and all of ours overwrite what they write to. So a
job may be sent again whenever it is not known to have ended well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from uuid import uuid4

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from etl import __version__
from etl.errors import ConflictError, StoreError, UsageError, missing_extra
from etl.storage import gcs

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, CopyJob, LoadJob
    from google.cloud.bigquery.external_config import ExternalConfig
    from google.cloud.bigquery.query import ScalarQueryParameter
    from google.cloud.bigquery.table import Row

    AnyJob = TypeVar("AnyJob", CopyJob, LoadJob)

Answer = TypeVar("Answer")

_NAME: Final = re.compile(
    r"(?P<project>(?:[a-z0-9][a-z0-9.-]*[a-z0-9]:)?[a-z][a-z0-9-]{4,28}[a-z0-9])\.(?P<dataset>\w{1,1024})", re.ASCII
)
_EMULATOR: Final = "BIGQUERY_EMULATOR_HOST"
_PASSING: Final = frozenset(
    {
        "backendError",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "rateLimitExceeded",
        "tableUnavailable",
    }
)
"""Reasons that go away (https://cloud.google.com/bigquery/docs/error-messages)."""


@dataclass(frozen=True)
class DatasetName:
    """A dataset's name.

    Attributes:
        project: The project it belongs to, and that pays for jobs.
        dataset: Its name in it.
    """

    project: str
    dataset: str

    @classmethod
    def parse(cls, text: str) -> DatasetName:
        """Reads ``project.dataset``.

        Raises:
            UsageError: If it is no such name.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text!r} is not the name of a dataset in BigQuery", hint="write it as my-project.my_dataset"
            )
        return cls(match["project"], match["dataset"])

    def __str__(self) -> str:
        return f"{self.project}.{self.dataset}"

    def table(self, name: str) -> str:
        """Returns the full name of a table for the client; that of a partition ends with ``$`` and its ID."""
        return f"{self}.{name}"

    def quoted(self, name: str) -> str:
        """Returns the full name of a table for SQL."""
        return f"`{self.project}`.`{self.dataset}`.`{name}`"


@dataclass(frozen=True)
class JobTimeouts:
    """Retries and timeouts of jobs.

    Attributes:
        attempts: Maximum number of attempts at a job.
        first: Seconds before the second attempt, doubled for each further one.
        longest: The longest wait in seconds.
        request: Seconds during which one request is repeated while Google cannot be reached.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 60.0
    request: float = 120.0


JOB_TIMEOUTS: Final = JobTimeouts()


def connect(name: DatasetName) -> Client:
    """Returns a client with the default credentials of this machine, or one for an emulator.

    With ``BIGQUERY_EMULATOR_HOST`` set, as Google's own clients have it, no credentials are looked for.

    Raises:
        UsageError: If google-cloud-bigquery is not installed.
        StoreError: If there are no default credentials.
    """
    try:
        from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415 -- comes with the extra
        from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415
        from google.cloud.bigquery import Client  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("google-cloud-bigquery", "gcp") from error
    if os.environ.get(_EMULATOR):
        return Client(project=name.project, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    try:
        return Client(project=name.project)
    except DefaultCredentialsError as error:
        raise StoreError("no Google Cloud credentials found on this machine", hint=gcs.LOGIN) from error


class Jobs:
    """Runs jobs for one dataset, in its location, and waits until they end.

    Attributes:
        billed: Bytes that the queries so far are billed for; all other jobs are free.

    Args:
        client: BigQuery's client.
        dataset: The dataset.
        patience: Retries and timeouts.

    Raises:
        StoreError: If the dataset does not exist or cannot be seen.
    """

    def __init__(self, client: Client, dataset: DatasetName, patience: JobTimeouts = JOB_TIMEOUTS) -> None:
        from google.cloud.bigquery.retry import DEFAULT_RETRY  # noqa: PLC0415

        self.billed = 0
        self.client = client
        self.retry = DEFAULT_RETRY.with_timeout(patience.request)
        self._patience = patience
        self._labels = {"app": "gharchive-etl", "version": re.sub(r"[^a-z0-9_-]", "-", __version__.lower())}
        with explained(str(dataset)):
            self._location = client.get_dataset(str(dataset), retry=self.retry).location

    def query(
        self,
        what: str,
        sql: str,
        parameters: Mapping[str, datetime],
        *,
        destination: str | None = None,
        definitions: Mapping[str, ExternalConfig] | None = None,
    ) -> list[Row]:
        """Runs a query and waits for its result.

        Args:
            what: The table and partition it is for, for people.
            sql: In BigQuery's dialect.
            parameters: Values of its parameters.
            destination: An empty table for the rows.
            definitions: Files in buckets that the query reads as tables, by the name it has for them.

        Returns:
            Its rows, which should be few; none if they went to a table.

        Raises:
            StoreError: If it cannot be run.
        """
        from google.cloud.bigquery import QueryJobConfig  # noqa: PLC0415

        config = QueryJobConfig(labels=self._labels, query_parameters=_given(parameters), use_query_cache=False)
        if destination is not None:
            config.destination = destination
            # An empty table keeps its schema, and a job that was already done is seen, not done again.
            config.write_disposition = "WRITE_EMPTY"
            config.create_disposition = "CREATE_NEVER"
        if definitions:
            config.table_definitions = dict(definitions)

        def once() -> list[Row]:
            job = self.client.query(sql, config, location=self._location, retry=self.retry, job_retry=None)
            found = job.result(retry=self.retry, job_retry=None)
            self.billed += job.total_bytes_billed or 0
            return [] if destination is not None else list(found)

        return self._tried(what, once)

    def bytes_of(
        self,
        what: str,
        sql: str,
        parameters: Mapping[str, datetime],
        definitions: Mapping[str, ExternalConfig] | None = None,
    ) -> int:
        """Returns the bytes that a query would be billed for, without running it.

        Raises:
            StoreError: If BigQuery refuses the query.
        """
        from google.cloud.bigquery import QueryJobConfig  # noqa: PLC0415

        config = QueryJobConfig(dry_run=True, use_query_cache=False, query_parameters=_given(parameters))
        if definitions:
            config.table_definitions = dict(definitions)
        with explained(what):
            job = self.client.query(sql, config, location=self._location, retry=self.retry, job_retry=None)
        return int(job.total_bytes_processed or 0)

    def copy(self, what: str, source: str, destination: str) -> None:
        """Replaces a table or a partition by a copy of another one, atomically.

        Raises:
            StoreError: If it cannot be.
        """
        from google.cloud.bigquery import CopyJobConfig  # noqa: PLC0415

        config = CopyJobConfig(
            labels=self._labels, write_disposition="WRITE_TRUNCATE", create_disposition="CREATE_NEVER"
        )

        def begin(name: str) -> CopyJob:
            return self.client.copy_table(
                source, destination, job_id=name, location=self._location, job_config=config, retry=self.retry
            )

        self._tried(what, lambda: self._ended(begin))

    def load(self, what: str, files: Sequence[str], destination: str, *, add: bool = False) -> int:
        """Replaces a table or a partition by the rows of Parquet files, atomically.

        Args:
            what: What it is, for people.
            files: Addresses in buckets.
            destination: A table or a partition that there is.
            add: Whether the rows are put beside those that are there.

        Returns:
            The rows that were loaded.

        Raises:
            StoreError: If it cannot be.
        """
        from google.cloud.bigquery import LoadJobConfig, ParquetOptions  # noqa: PLC0415

        options = ParquetOptions()  # type: ignore[no-untyped-call]
        # Else an array would come as a record with a record in it.
        options.enable_list_inference = True
        config = LoadJobConfig(
            labels=self._labels,
            source_format="PARQUET",
            parquet_options=options,
            create_disposition="CREATE_NEVER",
            write_disposition="WRITE_APPEND" if add else _overwriting(destination),
        )

        def begin(name: str) -> LoadJob:
            return self.client.load_table_from_uri(
                list(files), destination, job_id=name, location=self._location, job_config=config, retry=self.retry
            )

        return int(self._tried(what, lambda: self._ended(begin)).output_rows or 0)

    def _ended(self, begin: Callable[[str], AnyJob]) -> AnyJob:
        """Starts a job with a unique name, and waits until it ends."""
        from google.api_core.exceptions import Conflict  # noqa: PLC0415

        name = f"gharchive-etl-{uuid4()}"
        try:
            job = begin(name)
        except Conflict:
            # Its answer was lost, and the client asked again. For queries the client knows that itself.
            job = cast("AnyJob", self.client.get_job(name, location=self._location, retry=self.retry))
        job.result(retry=self.retry)
        return job

    def _tried(self, what: str, once: Callable[[], Answer]) -> Answer:
        """Runs a job, and retries it after transient errors."""
        tries = Retrying(
            retry=retry_if_exception(_goes_away),
            wait=wait_random_exponential(self._patience.first, self._patience.longest),
            stop=stop_after_attempt(self._patience.attempts),
            reraise=True,
        )

        with explained(what):
            return tries(once)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Converts exceptions of BigQuery's client in the block into errors of this program.

    Args:
        what: The dataset, table or partition in question.

    Raises:
        StoreError: On everything that went wrong.
    """
    from google.api_core.exceptions import GoogleAPICallError, RetryError  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError, TransportError  # noqa: PLC0415
    from requests.exceptions import RequestException  # noqa: PLC0415

    try:
        yield
    except GoogleAPICallError as error:
        raise _of_answer(error.code, _reason(error), _safe_words(error), what) from error
    except (RetryError, TransportError, RequestException, ConnectionError) as error:
        raise StoreError(
            f"BigQuery could not be reached for {what} ({type(error).__name__}), retries included",
            hint="check the network and https://status.cloud.google.com, then run it again",
        ) from error
    except GoogleAuthError as error:
        raise StoreError(f"the Google Cloud credentials are not accepted for {what}", hint=gcs.LOGIN) from error


def _of_answer(code: int | None, reason: str, words: str, what: str) -> StoreError:
    said = f": {words}" if words else ""
    if code == HTTPStatus.NOT_FOUND:
        return StoreError(
            f"{what} does not exist in BigQuery{said}",
            hint="a dataset is made by Terraform, or with: bq mk --dataset PROJECT:DATASET",
        )
    if reason == "quotaExceeded":
        return StoreError(
            f"a quota of BigQuery is used up for {what}{said}",
            hint="quotas refill within 24 hours; run it again then, and it goes on where it stopped",
        )
    if code == HTTPStatus.UNAUTHORIZED:
        return StoreError(f"the Google Cloud credentials are not accepted for {what}", hint=gcs.LOGIN)
    if code == HTTPStatus.FORBIDDEN:
        return StoreError(
            f"BigQuery refuses access to {what}{said}",
            hint="grant the account this runs as roles/bigquery.dataEditor on the dataset and roles/bigquery.jobUser"
            " on the project",
        )
    if code == HTTPStatus.PRECONDITION_FAILED:
        return ConflictError(
            f"{what} was changed by somebody else in the meantime; nothing was overwritten", hint="run it again"
        )
    # Not BigQuery's own words: they may hold a value of an event.
    return StoreError(
        f"BigQuery could not do {what}: {reason or code}",
        hint="the job's page in the console has its own words; what was there is as it was",
    )


def _safe_words(error: Any) -> str:  # noqa: ANN401 -- the library's errors ship no types for this
    """Returns Google's message if it names a resource, a permission or a quota; it then has no values of rows."""
    if error.code not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
        return ""
    told = error.errors[0].get("message", "") if error.errors else error.message or ""
    return str(told).partition("\n")[0][:300]


def _reason(error: Any) -> str:  # noqa: ANN401
    return str(error.errors[0].get("reason", "")) if error.errors else ""


def _goes_away(error: BaseException) -> bool:
    from google.api_core.exceptions import GoogleAPICallError, RetryError  # noqa: PLC0415

    if isinstance(error, RetryError):
        # Where it waits for a query, the client takes the end of the job for that of its question, and asks on.
        error = error.cause
    return isinstance(error, GoogleAPICallError) and _reason(error) in _PASSING


def _overwriting(destination: str) -> str:
    # A whole table would lose the descriptions of its columns and its key; a partition has none of its own.
    return "WRITE_TRUNCATE" if "$" in destination else "WRITE_TRUNCATE_DATA"


def _given(parameters: Mapping[str, datetime]) -> list[ScalarQueryParameter]:
    from google.cloud.bigquery import ScalarQueryParameter  # noqa: PLC0415

    return [ScalarQueryParameter(name, "TIMESTAMP", value) for name, value in parameters.items()]
