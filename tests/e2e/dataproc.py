"""A Dataproc of this machine: its service for batches by the client's own messages, over gRPC, and a way to run them.

It checks of a request what the service is documented to require, keeps batches, and has each run by a function that
the test gives. What the real service does beyond that (starting machines, quotas, rights) is not here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from uuid import uuid4

import grpc  # type: ignore[import-untyped]
import requests
from google.cloud import dataproc_v1
from google.longrunning import operations_pb2  # type: ignore[import-untyped]
from google.protobuf import any_pb2, empty_pb2  # type: ignore[import-untyped]

_SERVICE: Final = "google.cloud.dataproc.v1.BatchController"
_PARENT: Final = re.compile(r"projects/[a-z][a-z0-9-]{4,28}[a-z0-9]/locations/[a-z]+-[a-z]+[0-9]")
_BATCH_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{2,61}[a-z0-9]")
_PIECES_AN_OBJECT: Final = 2
_STATE: Final[Any] = dataproc_v1.Batch.State


@dataclass(frozen=True)
class Ended:
    """How a batch ended.

    Attributes:
        code: Exit code of its driver.
        milli_dcu_seconds: What it used.
        shuffle_storage_gb_seconds: What it used.
        message: What the service says of a failure.
    """

    code: int
    milli_dcu_seconds: int = 0
    shuffle_storage_gb_seconds: int = 0
    message: str = ""


Run = Callable[[dataproc_v1.Batch, Callable[[str], None]], Ended]
"""Runs a batch: given the batch, and what writes its driver's output."""


class Dataproc:
    """The service.

    Args:
        run: Runs a batch.
        storage: The address of the storage emulator.
        bucket: Its bucket, for the output of drivers.

    Attributes:
        address: ``127.0.0.1:PORT``, for BATCHES_EMULATOR_HOST.
        asked: All requests to create a batch, in order.
        unavailable: How many of the next requests are answered with UNAVAILABLE.
    """

    def __init__(self, run: Run, storage: str, bucket: str) -> None:
        self.asked: list[dataproc_v1.CreateBatchRequest] = []
        self.unavailable = 0
        self._run = run
        self._storage = storage
        self._bucket = bucket
        self._folder = f"dataproc-{uuid4().hex}"
        self._batches: dict[str, dataproc_v1.Batch] = {}
        self._by_request: dict[str, str] = {}
        self._cancelled: set[str] = set()
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self._batch_service(), self._operations()))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        """Ends the service."""
        self._server.stop(None).wait()

    def _batch_service(self) -> Any:
        def method(kind: Any, answer: Callable[[Any, Any], Any]) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                self._answering(answer),
                request_deserializer=kind.deserialize,
                response_serializer=lambda message: (
                    type(message).serialize(message)
                    if isinstance(message, dataproc_v1.Batch)
                    else message.SerializeToString()
                ),
            )

        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                "CreateBatch": method(dataproc_v1.CreateBatchRequest, self._create),
                "GetBatch": method(dataproc_v1.GetBatchRequest, self._get),
            },
        )

    def _operations(self) -> Any:
        return grpc.method_handlers_generic_handler(
            "google.longrunning.Operations",
            {
                "CancelOperation": grpc.unary_unary_rpc_method_handler(
                    self._answering(self._cancel),
                    request_deserializer=operations_pb2.CancelOperationRequest.FromString,
                    response_serializer=empty_pb2.Empty.SerializeToString,
                )
            },
        )

    def _answering(self, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def answered(request: Any, context: Any) -> Any:
            if self.unavailable:
                self.unavailable -= 1
                _abort(context, grpc.StatusCode.UNAVAILABLE, "not now")
            return answer(request, context)

        return answered

    def _create(self, request: dataproc_v1.CreateBatchRequest, context: Any) -> operations_pb2.Operation:
        self.asked.append(request)
        wrong = _wrong(request)
        if wrong is not None:
            _abort(context, grpc.StatusCode.INVALID_ARGUMENT, wrong)
        name = f"{request.parent}/batches/{request.batch_id}"
        with self._lock:
            if self._by_request.get(request.request_id) == name:
                return self._operation(name)
            if name in self._batches:
                _abort(context, grpc.StatusCode.ALREADY_EXISTS, f"{name} exists")
            batch = dataproc_v1.Batch(request.batch)
            batch.name, batch.state = name, _STATE.PENDING
            batch.operation = self._operation(name).name
            self._batches[name], self._by_request[request.request_id] = batch, name
        threading.Thread(target=self._do, args=(name,), daemon=True).start()
        return self._operation(name)

    def _get(self, request: dataproc_v1.GetBatchRequest, context: Any) -> dataproc_v1.Batch:
        with self._lock:
            batch = self._batches.get(request.name)
            if batch is None:
                _abort(context, grpc.StatusCode.NOT_FOUND, f"{request.name} does not exist")
            return dataproc_v1.Batch(batch)

    def _cancel(self, request: operations_pb2.CancelOperationRequest, context: Any) -> empty_pb2.Empty:
        with self._lock:
            name = next((name for name in self._batches if self._operation(name).name == request.name), None)
            if name is None:
                _abort(context, grpc.StatusCode.NOT_FOUND, "no such operation")
            self._cancelled.add(name)
            self._batches[name].state = _STATE.CANCELLED
        return empty_pb2.Empty()

    def _do(self, name: str) -> None:
        batch = self._batches[name]
        short = name.rpartition("/")[2]
        output = _Output(self._storage, self._bucket, f"{self._folder}/{short}/driveroutput")
        with self._lock:
            batch.state = _STATE.RUNNING
            batch.runtime_info = dataproc_v1.RuntimeInfo(output_uri=output.address)
        ended = self._run(batch, output.write)
        with self._lock:
            if name in self._cancelled:
                return
            batch.state_message = ended.message
            if ended.milli_dcu_seconds:
                batch.runtime_info.approximate_usage = dataproc_v1.UsageMetrics(
                    milli_dcu_seconds=ended.milli_dcu_seconds,
                    shuffle_storage_gb_seconds=ended.shuffle_storage_gb_seconds,
                )
            batch.state = _STATE.FAILED if ended.code else _STATE.SUCCEEDED

    def _operation(self, name: str) -> operations_pb2.Operation:
        parent, _, short = name.partition("/batches/")
        region = f"projects/{parent.split('/')[1]}/regions/{parent.split('/')[3]}"
        metadata = any_pb2.Any()
        metadata.Pack(dataproc_v1.BatchOperationMetadata.pb(dataproc_v1.BatchOperationMetadata(batch=name)))
        return operations_pb2.Operation(name=f"{region}/operations/{short}", metadata=metadata)


class _Output:
    """The output of a driver as a series of objects, each of two pieces: it grows once, then the next is begun."""

    def __init__(self, storage: str, bucket: str, path: str) -> None:
        self.address = f"gs://{bucket}/{path}"
        self._url = f"{storage}/upload/storage/v1/b/{bucket}/o"
        self._path = path
        self._pieces: list[str] = []

    def write(self, text: str) -> None:
        """Writes some text."""
        number = len(self._pieces) // _PIECES_AN_OBJECT
        self._pieces.append(text)
        content = "".join(self._pieces[number * _PIECES_AN_OBJECT :]).encode()
        terms = {"uploadType": "media", "name": f"{self._path}.{number:09d}"}
        requests.post(self._url, params=terms, data=content, timeout=10).raise_for_status()


@contextmanager
def dataproc(run: Run, storage: str, bucket: str) -> Iterator[Dataproc]:
    """Runs the service for the time of a block."""
    service = Dataproc(run, storage, bucket)
    try:
        yield service
    finally:
        service.stop()


def _abort(context: Any, code: Any, text: str) -> NoReturn:
    context.abort(code, text)
    raise AssertionError("gRPC's own abort does not come back")


def _wrong(request: dataproc_v1.CreateBatchRequest) -> str | None:
    """What the documentation of the messages would have refused, in words; None if nothing."""
    batch = request.batch
    settings = batch.environment_config.execution_config
    if not _PARENT.fullmatch(request.parent):
        return f"parent {request.parent!r}"
    if not _BATCH_ID.fullmatch(request.batch_id):
        return f"batch_id {request.batch_id!r} must be 4-63 characters"
    if not batch.pyspark_batch.main_python_file_uri.endswith(".py"):
        return "main_python_file_uri must be a .py file"
    if any(not key.startswith("spark") for key in batch.runtime_config.properties):
        return "unsupported property"
    hour, fortnight = 10 * 60, 14 * 24 * 3600
    if "ttl" in settings and not hour <= settings.ttl.total_seconds() <= fortnight:
        return "ttl must be between 10 minutes and 14 days"
    return None
