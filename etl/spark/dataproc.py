"""Batches of Spark on Dataproc Serverless: what is sent, what becomes of it, and what it costs.

A batch runs one of the scripts of ``spark_jobs``, which lie in the image, on machines that Google starts for it and
that end with it. Its driver's output grows as a series of objects in a bucket, which is how gcloud reads it as well.
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
"""Names a server of this machine (host:port) that is spoken to without credentials, as STORAGE_EMULATOR_HOST does.

A name that began with DATAPROC would make logs those of the cloud."""

_MAIN: Final[Mapping[JobName, str]] = {
    "build": "file:///opt/gharchive/spark_jobs/build_warehouse.py",
    "backfill": "file:///opt/gharchive/spark_jobs/backfill.py",
}
"""Where the image has the scripts."""
_PROPERTIES: Final[Mapping[JobName, Mapping[str, str]]] = {
    "build": {},
    # Hours are brought by Python beside the executor's Java, and take some 400 MiB for each core.
    "backfill": {"spark.executor.memory": "4g", "spark.executor.memoryOverhead": "4g"},
}
_RUNTIME: Final = "3.0"
"""Spark 4.0, Python 3.12; the image is made for this one."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{2,61}[a-z0-9]", re.ASCII)
_LONGEST: Final = timedelta(days=14)
_HOURS_A_MONTH: Final = 730
_LOG_CHUNK_BYTES: Final = 1 << 20
_PATIENCE_SECONDS: Final = 120.0
_ENDS: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, kw_only=True)
class DataprocTarget:
    """Where batches run, and as whom.

    Attributes:
        project: The project's id.
        region: A region of Google Cloud.
        image: The container image, made by the stage ``spark`` of the Dockerfile.
        account: The service account whose rights a batch has; None for the project's default one, which has many.
        subnet: The subnetwork, with Private Google Access; None for the region's default one.
        bucket: The name of a bucket for Dataproc's own files and the log; None for one that Google makes.
    """

    project: str
    region: str
    image: str
    account: str | None = None
    subnet: str | None = None
    bucket: str | None = None


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a batch is to do.

    Attributes:
        job: Which of the two jobs.
        arguments: What stands behind the script's name, settings included.
        name: The batch's name, which is unique in its project and region.
        properties: Spark's properties, besides ours.
        limit: After so long it is cancelled.
    """

    job: JobName
    arguments: Sequence[str]
    name: str
    properties: Mapping[str, str] = field(default_factory=dict)
    limit: timedelta = timedelta(hours=24)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot name a batch", hint="4 to 63 of a-z, 0-9 and -, with no - at either end"
            )
        if self.limit > _LONGEST:
            raise UsageError(f"a batch may last {_LONGEST.days} days at most", hint="send it again where it ended")


@dataclass(frozen=True)
class Cost:
    """What a batch used, by Google's own approximate count, and what that costs.

    Attributes:
        dcu_hours: Data Compute Units times hours.
        shuffle_gb_hours: Gigabytes of shuffle storage times hours.
    """

    dcu_hours: float
    shuffle_gb_hours: float

    @property
    def dollars(self) -> float:
        """At listed prices; see ``PRICES``."""
        return self.dcu_hours * DCU_HOUR_DOLLARS + self.shuffle_gb_hours * SHUFFLE_GB_MONTH_DOLLARS / _HOURS_A_MONTH


def new_name(job: JobName, now: datetime | None = None) -> str:
    """Makes a name for a batch that tells when it was sent."""
    return f"gharchive-{job}-{now or datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"


def request_of(place: DataprocTarget, order: Order) -> CreateBatchRequest:
    """Makes the request that sends a batch.

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
    # The id makes a request that is sent again after a lost answer the same one, not a second batch.
    request: CreateBatchRequest = library.CreateBatchRequest(
        parent=f"projects/{place.project}/locations/{place.region}",
        batch=batch,
        batch_id=order.name,
        request_id=str(uuid4()),
    )
    return request


class Batches:
    """Dataproc in one region.

    Args:
        project: The project's id.
        region: The region.

    Raises:
        UsageError: If the client is not installed.
        BatchError: If there are no credentials.
    """

    def __init__(self, project: str, region: str) -> None:
        self._parent = f"projects/{project}/locations/{region}"
        self._client = _client(region)

    def send(self, request: CreateBatchRequest) -> None:
        """Sends a batch.

        Raises:
            BatchError: If it is refused or nobody answers.
        """
        with _explained(f"a batch {request.batch_id}"):
            # A request that is repeated after a lost answer has the id of the first, and is not done twice.
            self._client.create_batch(request=request, retry=_patient(), timeout=_PATIENCE_SECONDS)

    def look(self, name: str) -> Batch:
        """Looks at a batch.

        Raises:
            BatchError: If there is none of that name, or nobody answers.
        """
        with _explained(f"the batch {name}"):
            path = f"{self._parent}/batches/{name}"
            return self._client.get_batch(name=path, retry=_patient(), timeout=_PATIENCE_SECONDS)

    def cancel(self, name: str) -> None:
        """Asks Google to end a batch; what it has done stays, and doing it again goes on from there.

        Raises:
            BatchError: If there is none of that name, it has ended, or nobody answers.
        """
        operation = self.look(name).operation
        with _explained(f"the batch {name}"):
            self._client.cancel_operation({"name": operation})


def follow(
    batches: Batches, name: str, *, pause: float, tell: Callable[[str], None], log: Callable[[str], None]
) -> Batch:
    """Waits until a batch has ended, passing on its states and its driver's output.

    Args:
        batches: Where it runs.
        name: Its name.
        pause: Seconds between two looks.
        tell: Told of states.
        log: Given the driver's output, piece by piece.

    Returns:
        The batch as it ended, well or not.

    Raises:
        BatchError: If nobody answers any more; the batch goes on.
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
    """What a batch used; None where Google has not counted it yet."""
    if "approximate_usage" not in batch.runtime_info:
        return None
    usage = batch.runtime_info.approximate_usage
    return Cost(usage.milli_dcu_seconds / 1000 / 3600, usage.shuffle_storage_gb_seconds / 3600)


def refuse_failure(name: str, batch: Batch, said: str) -> None:
    """Fails when a batch did not end well, with the exit code that its driver gave where it gave one.

    Args:
        name: Its name.
        batch: The batch as it ended.
        said: The end of its driver's output.

    Raises:
        EtlError: If it did not; of the class that the driver's last word was of.
    """
    if batch.state.name == "SUCCEEDED":
        return
    word = last_word(said)
    if word is not None and batch.state.name == "FAILED":
        message, hint, kind = word
        raise kind(f"the batch {name}: {message}", hint=hint)
    why = f": {batch.state_message}" if batch.state_message else ""
    raise BatchError(
        f"the batch {name} is {batch.state.name.lower()}{why}", hint="its driver's output and executors' logs tell more"
    )


def last_word(said: str) -> tuple[str, str | None, type[EtlError]] | None:
    """Finds the error with which this program ended in its output: message, hint and class; None if there is none."""
    for line in reversed(said.splitlines()):
        if not line.startswith("{"):
            continue
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and isinstance(told.get("exit_code"), int):
            kind = next((kind for kind in _kinds() if kind.exit_code == told["exit_code"]), BatchError)
            hint = told.get("hint")
            return str(told.get("message", "")), None if hint is None else str(hint), kind
    return None


class _Output:
    """The output of a driver: objects ``ADDRESS.000000000`` and on, of which the last one grows.

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
        # A letter of several bytes may lie in two pieces, and in two objects.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def more(self) -> Iterator[str]:
        """Yields what was written since the last time; an object that cannot be read now is read later."""
        while True:
            try:
                yield from self._of_one()
                if self._store.stat(self._key(self._number + 1)) is None:
                    return
                # It may have grown once more before the next one was begun.
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


def _kinds() -> list[type[EtlError]]:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EtlError)]
    return [kind for kind in found if kind is not EtlError]


def _library() -> Any:  # noqa: ANN401 -- a module
    try:
        from google.cloud import dataproc_v1  # noqa: PLC0415 -- comes with the extra
    except ImportError as error:
        raise missing_extra("google-cloud-dataproc", "gcp") from error
    return dataproc_v1


def _patient() -> Any:  # noqa: ANN401 -- what the client wants
    from google.api_core.retry import Retry  # noqa: PLC0415

    return Retry(timeout=_PATIENCE_SECONDS)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns what the client raises inside the block into an error for people."""
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
        raise UsageError(f"Dataproc refuses {what}: {error.message}", hint="--dry-run shows what is sent") from error
    except AlreadyExists as error:
        raise BatchError(f"there is {what} already", hint="choose another --name, or follow that one") from error
    except NotFound as error:
        raise BatchError(f"{what} does not exist", hint="check its name, the project and the region") from error
    except Forbidden as error:
        raise BatchError(
            f"you may not do that with {what}",
            hint="it takes roles/dataproc.editor on the project and roles/iam.serviceAccountUser on the --account",
        ) from error
    except (GoogleAuthError, Unauthenticated) as error:
        raise BatchError(f"the Google Cloud credentials are not accepted for {what}", hint=gcs.LOGIN) from error
    except (GoogleAPICallError, RetryError) as error:
        raise BatchError(
            f"Dataproc did not do as asked with {what} ({type(error).__name__})",
            hint="check the network and https://status.cloud.google.com, then ask again: `submit follow NAME`",
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
        raise BatchError("there are no Google Cloud credentials on this machine", hint=gcs.LOGIN) from error
    return found


def default_project() -> str | None:
    """The project of this machine's credentials; None where there are none, or where they name none."""
    from google.auth import default  # noqa: PLC0415 -- comes with the extra
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415

    try:
        _, project = default()
    except DefaultCredentialsError:
        return None
    return None if project is None else str(project)
