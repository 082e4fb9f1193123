"""Spark batches on Dataproc Serverless: submission, monitoring, and cost.

A batch runs one of the scripts of ``spark_jobs``, which are part of the image, on machines that Google starts for it.
The driver's output is a growing series of objects in a bucket; gcloud reads them in the same way.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

from etl import errors
from etl.errors import BatchError, EtlError, StoreError, UsageError, missing_extra
from etl.storage import gcs
from etl.storage.gcs_store import GcsStore

if TYPE_CHECKING:
    from google.cloud.dataproc_v1 import Batch, BatchControllerClient, CreateBatchRequest

JobName = Literal["build", "backfill"]

DCU_HOUR_DOLLARS: Final = 0.060
SHUFFLE_GB_MONTH_DOLLARS: Final = 0.040
PRICES: Final = "prices of us-central1, as listed when this was written (2026-11)"
"""https://cloud.google.com/dataproc-serverless/pricing; the standard tier. Other regions cost up to a third more."""

EMULATOR: Final = "BATCHES_EMULATOR_HOST"
"""Variable with the host:port of a local emulator, which is used without credentials, like STORAGE_EMULATOR_HOST. Its
name must not start with DATAPROC, which would switch logs to the cloud format."""

_MAIN: Final[Mapping[JobName, str]] = {
    "build": "file:///opt/gharchive/spark_jobs/build_warehouse.py",
    "backfill": "file:///opt/gharchive/spark_jobs/backfill.py",
}
"""Paths of the scripts in the image."""
_PROPERTIES: Final[Mapping[JobName, Mapping[str, str]]] = {
    "build": {},
    # Hours are processed in Python next to the executor's Java, with about 400 MiB per core.
    "backfill": {"spark.executor.memory": "4g", "spark.executor.memoryOverhead": "4g"},
}
_RUNTIME: Final = "3.0"
"""Spark 4.0 and Python 3.12; the image is built for this version."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{2,61}[a-z0-9]", re.ASCII)
_MAX_LIMIT: Final = timedelta(days=14)
_HOURS_A_MONTH: Final = 730
_LOG_CHUNK_BYTES: Final = 1 << 20
_TIMEOUT_SECONDS: Final = 120.0
_ENDS: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, kw_only=True)
class DataprocTarget:
    """Where batches run.

    Attributes:
        project: ID of the project.
        region: Google Cloud region.
        image: Container image, built by the stage ``spark`` of the Dockerfile.
        account: Service account to run as; None for the project's default account, which has many permissions.
        subnet: Subnetwork with Private Google Access; None for the region's default one.
        bucket: Name of the bucket for Dataproc's files and logs; None for a bucket created by Google.
    """

    project: str
    region: str
    image: str
    account: str | None = None
    subnet: str | None = None
    bucket: str | None = None


@dataclass(frozen=True, kw_only=True)
class Order:
    """A batch to submit.

    Attributes:
        job: The job to run.
        arguments: Arguments of the script, including settings.
        name: Name of the batch, unique in its project and region.
        properties: Additional Spark properties.
        limit: Time after which the batch is cancelled.
    """

    job: JobName
    arguments: Sequence[str]
    name: str
    properties: Mapping[str, str] = field(default_factory=dict)
    limit: timedelta = timedelta(hours=24)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"invalid batch name {self.name!r}",
                hint="use 4 to 63 characters of a-z, 0-9 and -, without a leading or trailing -",
            )
        if self.limit > _MAX_LIMIT:
            raise UsageError(
                f"a batch can run for at most {_MAX_LIMIT.days} days", hint="submit it again to continue where it ended"
            )


@dataclass(frozen=True)
class Cost:
    """Approximate usage of a batch as reported by Google, and its cost.

    Attributes:
        dcu_hours: Data Compute Units times hours.
        shuffle_gb_hours: Gigabytes of shuffle storage times hours.
    """

    dcu_hours: float
    shuffle_gb_hours: float

    @property
    def dollars(self) -> float:
        """Cost at list prices; see ``PRICES``."""
        return self.dcu_hours * DCU_HOUR_DOLLARS + self.shuffle_gb_hours * SHUFFLE_GB_MONTH_DOLLARS / _HOURS_A_MONTH


def new_name(job: JobName, now: datetime | None = None) -> str:
    """Returns a new batch name with the time of submission."""
    return f"gharchive-{job}-{now or datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"


def request_of(place: DataprocTarget, order: Order) -> CreateBatchRequest:
    """Returns the request that submits a batch.

    Raises:
        UsageError: If the client for Dataproc is not installed.
    """
    library = _library()
    settings = library.ExecutionConfig(ttl=order.limit)
    if place.account is not None:
        settings.service_account = place.account
    if place.subnet is not None:
        settings.subnetwork_uri = place.subnet
    if place.bucket is not None:
        settings.staging_bucket = place.bucket
    batch = library.Batch(
        pyspark_batch=library.PySparkBatch(main_python_file_uri=_MAIN[order.job], args=list(order.arguments)),
        labels={"app": "gharchive-etl", "job": order.job},
        runtime_config=library.RuntimeConfig(
            version=_RUNTIME,
            container_image=place.image,
            properties={**_PROPERTIES[order.job], **order.properties},
        ),
        environment_config=library.EnvironmentConfig(execution_config=settings),
    )
    # With a request ID, a retry after a lost response does not create a second batch.
    request: CreateBatchRequest = library.CreateBatchRequest(
        parent=f"projects/{place.project}/locations/{place.region}",
        batch=batch,
        batch_id=order.name,
        request_id=str(uuid4()),
    )
    return request


class Batches:
    """Client for batches in one region.

    Args:
        project: ID of the project.
        region: The region.

    Raises:
        UsageError: If the client library is not installed.
        BatchError: If there are no credentials.
    """

    def __init__(self, project: str, region: str) -> None:
        self._parent = f"projects/{project}/locations/{region}"
        self._client = _client(region)

    def send(self, request: CreateBatchRequest) -> None:
        """Submits a batch.

        Raises:
            BatchError: If it is rejected or Dataproc cannot be reached.
        """
        with _explained(f"batch {request.batch_id}"):
            # A retry has the same request ID, so it does not create a second batch.
            self._client.create_batch(request=request, retry=_retry(), timeout=_TIMEOUT_SECONDS)

    def look(self, name: str) -> Batch:
        """Returns the current state of a batch.

        Raises:
            BatchError: If it does not exist, or Dataproc cannot be reached.
        """
        with _explained(f"batch {name}"):
            path = f"{self._parent}/batches/{name}"
            return self._client.get_batch(name=path, retry=_retry(), timeout=_TIMEOUT_SECONDS)

    def cancel(self, name: str) -> None:
        """Cancels a batch. What it has completed is kept, and running it again continues from there.

        Raises:
            BatchError: If it does not exist or has ended, or Dataproc cannot be reached.
        """
        operation = self.look(name).operation
        with _explained(f"batch {name}"):
            self._client.cancel_operation({"name": operation})


def follow(
    batches: Batches, name: str, *, pause: float, tell: Callable[[str], None], log: Callable[[str], None]
) -> Batch:
    """Waits until a batch has ended, and passes on its states and its driver's output.

    Args:
        batches: The client.
        name: Name of the batch.
        pause: Polling interval in seconds.
        tell: Called with each new state, as text.
        log: Called with the driver's output, piece by piece.

    Returns:
        The batch in its final state, successful or not.

    Raises:
        BatchError: If Dataproc can no longer be reached; the batch continues to run.
    """
    state, output = "", None
    while True:
        batch = batches.look(name)
        if batch.state.name != state:
            state = batch.state.name
            tell(f"{name} is {state.lower()}")
        address = batch.runtime_info.output_uri
        if address and (output is None or output.address != address):
            output = _Output(address)
        has_ended = batch.state.name in _ENDS
        if output is not None:
            for piece in output.more():
                log(piece)
        if has_ended:
            return batch
        time.sleep(pause)


def cost_of(batch: Batch) -> Cost | None:
    """Returns the cost of a batch; None if Google has not reported its usage yet."""
    if "approximate_usage" not in batch.runtime_info:
        return None
    usage = batch.runtime_info.approximate_usage
    return Cost(usage.milli_dcu_seconds / 1000 / 3600, usage.shuffle_storage_gb_seconds / 3600)


def refuse_failure(name: str, batch: Batch, said: str) -> None:
    """Raises an error if a batch was not successful, with the exit code of its driver if there is one.

    Args:
        name: Name of the batch.
        batch: The batch in its final state.
        said: The end of its driver's output.

    Raises:
        EtlError: If the batch failed; of the class of the driver's own error if it reported one.
    """
    if batch.state.name == "SUCCEEDED":
        return
    error = last_error(said)
    if error is not None and batch.state.name == "FAILED":
        message, hint, kind = error
        raise kind(f"batch {name}: {message}", hint=hint)
    why = f": {batch.state_message}" if batch.state_message else ""
    raise BatchError(
        f"batch {name} is {batch.state.name.lower()}{why}", hint="see the driver's output and the executors' logs"
    )


def last_error(said: str) -> tuple[str, str | None, type[EtlError]] | None:
    """Returns message, hint and class of the error in the output with which this program ended; None without one."""
    for line in reversed(said.splitlines()):
        if not line.startswith("{"):
            continue
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("exit_code"), int):
            kind = next((kind for kind in _error_classes() if kind.exit_code == record["exit_code"]), BatchError)
            hint = record.get("hint")
            return str(record.get("message", "")), None if hint is None else str(hint), kind
    return None


class _Output:
    """The output of a driver: objects ``ADDRESS.000000000`` and so on; the last one grows.

    Args:
        address: ``gs://bucket/path/driveroutput``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        bucket, path = gcs.split(address)
        folder, _, self._name = path.rpartition("/")
        self._store = GcsStore(bucket, folder)
        self._number = 0
        self._position = 0
        # A multi-byte character may be split between two pieces or objects.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def more(self) -> Iterator[str]:
        """Yields the output since the last call; an object that cannot be read is tried again in the next call."""
        while True:
            try:
                yield from self._of_one()
                if self._store.stat(self._key(self._number + 1)) is None:
                    return
                # It may have grown again before the next object was created.
                yield from self._of_one()
            except StoreError:
                return
            self._number, self._position = self._number + 1, 0

    def _of_one(self) -> Iterator[str]:
        info = self._store.stat(self._key(self._number))
        if info is None or info.size <= self._position:
            return
        with self._store.open(self._key(self._number)) as file:
            file.seek(self._position)
            while piece := file.read(_LOG_CHUNK_BYTES):
                self._position += len(piece)
                yield self._decoder.decode(piece)

    def _key(self, number: int) -> str:
        return f"{self._name}.{number:09d}"


def _error_classes() -> list[type[EtlError]]:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EtlError)]
    return [kind for kind in found if kind is not EtlError]


def _library() -> Any:  # noqa: ANN401 -- a module
    try:
        from google.cloud import dataproc_v1  # noqa: PLC0415 -- comes with the extra
    except ImportError as error:
        raise missing_extra("google-cloud-dataproc", "gcp") from error
    return dataproc_v1


def _retry() -> Any:  # noqa: ANN401 -- as the client's own types
    from google.api_core.retry import Retry  # noqa: PLC0415

    return Retry(timeout=_TIMEOUT_SECONDS)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Translates exceptions of the client inside the block into user-facing errors."""
    from google.api_core.exceptions import (  # noqa: PLC0415
        AlreadyExists,
        Forbidden,
        GoogleAPICallError,
        InvalidArgument,
        NotFound,
        RetryError,
        Unauthenticated,
    )
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

    try:
        yield
    except InvalidArgument as error:
        raise UsageError(
            f"Dataproc rejected {what}: {error.message}", hint="use --dry-run to see the request"
        ) from error
    except AlreadyExists as error:
        raise BatchError(f"{what} already exists", hint="choose another --name, or follow that batch") from error
    except NotFound as error:
        raise BatchError(f"{what} does not exist", hint="check its name, the project and the region") from error
    except Forbidden as error:
        raise BatchError(
            f"permission denied for {what}",
            hint="roles/dataproc.editor on the project and roles/iam.serviceAccountUser on the --account are required",
        ) from error
    except (GoogleAuthError, Unauthenticated) as error:
        raise BatchError(f"the Google Cloud credentials were rejected for {what}", hint=gcs.LOGIN) from error
    except (GoogleAPICallError, RetryError) as error:
        raise BatchError(
            f"the Dataproc request for {what} failed ({type(error).__name__})",
            hint="check the network and https://status.cloud.google.com, then run `submit follow NAME`",
        ) from error


def _client(region: str) -> BatchControllerClient:
    library = _library()
    emulator = os.environ.get(EMULATOR)
    if emulator:
        import grpc  # type: ignore[import-untyped]  # noqa: PLC0415 -- comes with the client

        kind = library.BatchControllerClient.get_transport_class("grpc")
        found: BatchControllerClient = library.BatchControllerClient(
            transport=kind(channel=grpc.insecure_channel(emulator))
        )
        return found
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415

    try:
        found = library.BatchControllerClient(client_options={"api_endpoint": f"{region}-dataproc.googleapis.com:443"})
    except DefaultCredentialsError as error:
        raise BatchError("no Google Cloud credentials found on this machine", hint=gcs.LOGIN) from error
    return found


def default_project() -> str | None:
    """Returns the project of this machine's credentials; None if there are none, or they have no project."""
    from google.auth import default  # noqa: PLC0415 -- comes with the extra
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415

    try:
        _, project = default()
    except DefaultCredentialsError:
        return None
    return None if project is None else str(project)
