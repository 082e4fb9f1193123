"""A server that stands where BigQuery does, so that Google's own client can be seen at work.

Every request and response is validated against Google's description of the API. Tables, partitions and jobs are
kept, and queries are answered by DuckDB in our own translation: so this shows what is sent, in which order, and that
a rerun repairs a broken run. What BigQuery itself makes of the SQL it does not show; for that there is Google's
analyzer (``test_bigquery_sql.py``).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import duckdb

from etl.storage import gcs
from etl.warehouse.duckdb_engine import connect, quoted
from etl.warehouse.transpile import Dialect, translate
from tests.integration.archive.server import serving
from tests.integration.warehouse.api_description import Call, bigquery

_TYPES: Final = {
    "VARCHAR": ("STRING", "NULLABLE"),
    "BIGINT": ("INTEGER", "NULLABLE"),
    "INTEGER": ("INTEGER", "NULLABLE"),
    "HUGEINT": ("INTEGER", "NULLABLE"),
    "DOUBLE": ("FLOAT", "NULLABLE"),
    "BOOLEAN": ("BOOLEAN", "NULLABLE"),
    "DATE": ("DATE", "NULLABLE"),
    "TIMESTAMP WITH TIME ZONE": ("TIMESTAMP", "NULLABLE"),
    "VARCHAR[]": ("STRING", "REPEATED"),
}
_TO_DUCKDB: Final = {"INTEGER": "BIGINT", "FLOAT": "DOUBLE", "STRING": "VARCHAR", "TIMESTAMP": "TIMESTAMPTZ"}
_PARTITIONS: Final = re.compile(r"`([^`]+)`\.`([^`]+)`\.INFORMATION_SCHEMA\.PARTITIONS")
_IDS: Final = {"DAY": "%Y%m%d", "HOUR": "%Y%m%d%H"}
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)

Refusal = tuple[int, str, str]
"""HTTP status, reason and message."""


class RefusedError(Exception):
    """The server says no: with an HTTP status and a reason."""

    def __init__(self, status: int, reason: str, message: str = "no") -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class JobFailedError(Exception):
    """A job ends with an error."""

    def __init__(self, reason: str, message: str = "no") -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


@dataclass
class Seen:
    """A request as it came in.

    Attributes:
        method: The API's name of what was called.
        path: Values of the path's parameters.
        body: What was sent.
        headers: With it.
    """

    method: str
    path: Mapping[str, str]
    body: dict[str, Any]
    headers: Mapping[str, str]


@dataclass
class BigQuery:
    """What the server holds, what it was asked, and what goes wrong.

    Attributes:
        folder: Where files of buckets are put to be read.
        url: For BIGQUERY_EMULATOR_HOST.
        seen: All requests.
        wrong: Requests that Google's description does not know, and answers that are not as it says.
        before: Called before each request is done; it may raise ``RefusedError``.
        failing: Asked for the reason that a job fails for, given its configuration; None for jobs that work.
        lose_answers: Answers to lose: the job is started, and the connection breaks.
        slow: Jobs that are still running when they are first looked at.
    """

    folder: Path
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    before: Callable[[Seen], None] = lambda _: None
    failing: Callable[[dict[str, Any]], str | None] = lambda _: None
    lose_answers: int = 0
    slow: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._tick = count()
        self._tables: dict[tuple[str, str], dict[str, Any]] = {}
        self._written: dict[tuple[str, str], dict[str | None, datetime]] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        self._running: dict[str, int] = {}
        self._answers: dict[str, tuple[list[dict[str, Any]], list[tuple[Any, ...]]]] = {}
        self.datasets: dict[str, dict[str, Any]] = {}
        self.sql = connect()
        self.sql.execute("ATTACH ':memory:' AS \"my-project\"")

    def create_dataset(self, name: str, location: str = "EU") -> None:
        """Makes a dataset of the project ``my-project``; the first one is where ``ask`` looks for tables."""
        self.sql.execute(f'CREATE SCHEMA "my-project"."{name}"')
        if not self.datasets:
            self.sql.execute(f'USE "my-project"."{name}"')
        self.datasets[name] = {
            "kind": "bigquery#dataset",
            "id": f"my-project:{name}",
            "etag": self._etag(),
            "datasetReference": {"projectId": "my-project", "datasetId": name},
            "location": location,
            "access": [{"role": "OWNER", "specialGroup": "projectOwners"}],
        }

    def jobs(self, kind: str) -> list[dict[str, Any]]:
        """Returns the configuration of all jobs of a kind (query, copy, load) except dry runs."""
        sent = [seen.body["configuration"] for seen in self.seen if seen.method == "bigquery.jobs.insert"]
        return [told[kind] for told in sent if kind in told and not told.get("dryRun")]

    def table(self, dataset: str, name: str) -> dict[str, Any]:
        """Returns a table's resource."""
        return self._tables[dataset, name]

    def names(self, dataset: str) -> set[str]:
        """Returns the tables and views of a dataset."""
        return {name for place, name in self._tables if place == dataset}

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Returns the rows of a query in DuckDB's SQL."""
        with self._lock:
            return self.sql.execute(query).fetchall()

    def partitions(self, dataset: str, name: str) -> dict[str | None, datetime]:
        """Returns the partitions of a table, with when each was written."""
        return dict(self._written[dataset, name])

    def answer(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Answers a request as the API would."""
        parts = urlsplit(target)
        try:
            call = bigquery().call(method, parts.path, parse_qs(parts.query))
            sent = json.loads(body) if body else {}
            if call.request is not None:
                bigquery().check(call.request, sent, sent=True)
        except ValueError as error:
            self.wrong.append(str(error))
            return 400, _error(400, "invalid", str(error))
        path = {name: unquote(value) for name, value in call.path.items()}
        seen = Seen(call.id, path, sent, headers)
        with self._lock:
            self.seen.append(seen)
            return self._answered(call, seen, parse_qs(parts.query))

    def _answered(self, call: Call, seen: Seen, query: Mapping[str, list[str]]) -> tuple[int, dict[str, Any]]:
        try:
            self._refuse_strangers(seen)
            content = getattr(self, f"_{call.id.replace('.', '_').removeprefix('bigquery_')}")(seen, query)
        except RefusedError as error:
            return error.status, _error(error.status, error.reason, str(error))
        except (duckdb.Error, LookupError, TypeError, ValueError, AssertionError) as error:
            self.wrong.append(f"{call.id}: {type(error).__name__}: {error}")
            return 500, _error(500, "notImplemented", "a mistake of this server")
        if call.response is not None:
            try:
                bigquery().check(call.response, content, sent=False)
            except ValueError as error:
                self.wrong.append(f"answered: {error}")
        return 200, content

    def _refuse_strangers(self, seen: Seen) -> None:
        self.before(seen)
        if seen.path["projectId"] != "my-project":
            raise RefusedError(404, "notFound", "no such project")

    # ---------------------------------------------------------------------------------------- datasets and tables

    def _datasets_get(self, seen: Seen, _query: object) -> dict[str, Any]:
        return self._dataset(seen)

    def _datasets_patch(self, seen: Seen, _query: object) -> dict[str, Any]:
        held = self._dataset(seen)
        _hold_etag(seen, held)
        held |= {**seen.body, "etag": self._etag()}
        return held

    def _tables_get(self, seen: Seen, _query: object) -> dict[str, Any]:
        return self._table(seen)

    def _tables_insert(self, seen: Seen, _query: object) -> dict[str, Any]:
        self._dataset(seen)
        place = seen.body["tableReference"]
        key = (place["datasetId"], place["tableId"])
        if key in self._tables:
            raise RefusedError(409, "duplicate")
        name = _name(*key)
        if "view" in seen.body:
            if "schema" in seen.body:
                raise RefusedError(400, "invalid", "Schema field shouldn't be used as input with a view")
            fields = self._make_view(name, seen.body["view"]["query"])
        else:
            fields = seen.body["schema"]["fields"]
            self.sql.execute(f"CREATE TABLE {name} ({', '.join(map(_column, fields))})")
        kind = "VIEW" if "view" in seen.body else "TABLE"
        self._tables[key] = {
            **seen.body,
            "kind": "bigquery#table",
            "id": f"my-project:{key[0]}.{key[1]}",
            "etag": self._etag(),
            "type": kind,
            "schema": {"fields": fields},
        }
        self._written[key] = {} if "timePartitioning" in seen.body else {None: self._now()}
        return self._tables[key]

    def _tables_patch(self, seen: Seen, _query: object) -> dict[str, Any]:
        held = self._table(seen)
        _hold_etag(seen, held)
        key = (seen.path["datasetId"], seen.path["tableId"])
        for fixed in ("timePartitioning", "tableReference"):
            if fixed in seen.body and seen.body[fixed] != held.get(fixed):
                raise RefusedError(400, "invalid", f"{fixed} cannot be changed")
        changes = dict(seen.body)
        if "view" in changes:
            changes["schema"] = {"fields": self._make_view(_name(*key), changes["view"]["query"])}
        elif "schema" in changes:
            self._add_columns(_name(*key), held, changes["schema"]["fields"])
        held |= {**{name: value for name, value in changes.items() if value is not None}, "etag": self._etag()}
        for name, value in changes.items():
            if value is None:
                held.pop(name, None)
        return held

    def _tables_delete(self, seen: Seen, _query: object) -> dict[str, Any]:
        name, _, partition = seen.path["tableId"].partition("$")
        key = (seen.path["datasetId"], name)
        if key not in self._tables or (partition and partition not in self._written[key]):
            raise RefusedError(404, "notFound")
        if partition:
            self._empty(key, partition)
            del self._written[key][partition]
        else:
            self.sql.execute(f"DROP TABLE {_name(*key)}")
            del self._tables[key]
            del self._written[key]
        return {}

    def _make_view(self, name: str, query: str) -> list[dict[str, Any]]:
        self.sql.execute(f"CREATE OR REPLACE VIEW {name} AS {translate(query, Dialect.DUCKDB, {})}")
        return [_field(row[0], row[1]) for row in self.sql.execute(f"DESCRIBE {name}").fetchall()]

    def _add_columns(self, name: str, held: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]) -> None:
        there = held["schema"]["fields"]
        for old, new in zip(there, fields, strict=False):
            if any(old.get(side) != new.get(side) for side in ("name", "type", "mode")):
                raise RefusedError(400, "invalid", f"Provided Schema does not match Table: {old['name']}")
        if len(fields) < len(there) or (held["type"] == "VIEW" and len(fields) != len(there)):
            raise RefusedError(400, "invalid", "Provided Schema does not match Table")
        for new in fields[len(there) :]:
            self.sql.execute(f"ALTER TABLE {name} ADD COLUMN {_column(new)}")

    # ------------------------------------------------------------------------------------------------------- jobs

    def _jobs_insert(self, seen: Seen, _query: object) -> dict[str, Any]:
        name = seen.body["jobReference"]["jobId"]
        if name in self._jobs:
            raise RefusedError(409, "duplicate", "Already Exists: Job")
        told = seen.body["configuration"]
        if seen.body["jobReference"].get("location") != self._location(told):
            raise RefusedError(404, "notFound", "the dataset is in another location")
        job = {**seen.body, "kind": "bigquery#job", "id": f"my-project:{name}", "status": {"state": "DONE"}}
        job["statistics"] = {"creationTime": "0"}
        if not told.get("dryRun"):
            self._jobs[name] = job
        try:
            self._fail_if_told(told)
            (kind,) = set(told) & {"query", "copy", "load"}
            job["statistics"] |= getattr(self, f"_{kind}")(name, told[kind], dry=bool(told.get("dryRun")))
        except JobFailedError as error:
            result = {"reason": error.reason, "message": str(error)}
            job["status"] |= {"errorResult": result, "errors": [result]}
        if self.lose_answers:
            self.lose_answers -= 1
            raise ConnectionAbortedError
        if self.slow and name in self._jobs:
            self.slow -= 1
            self._running[name] = 2
        return self._as_it_seems(job)

    def _as_it_seems(self, job: dict[str, Any]) -> dict[str, Any]:
        """Says of a slow job, for the first times, that it is running."""
        name = job["jobReference"]["jobId"]
        if not self._running.get(name):
            return job
        self._running[name] -= 1
        return {**job, "status": {"state": "RUNNING"}, "statistics": {"creationTime": "0"}}

    def _fail_if_told(self, told: dict[str, Any]) -> None:
        reason = self.failing(told)
        if reason is not None:
            raise JobFailedError(reason, "a value of an event: someone@example.com")

    def _jobs_get(self, seen: Seen, _query: object) -> dict[str, Any]:
        if seen.path["jobId"] not in self._jobs:
            raise RefusedError(404, "notFound", "Not found: Job")
        return self._as_it_seems(self._jobs[seen.path["jobId"]])

    def _jobs_getQueryResults(self, seen: Seen, query: Mapping[str, list[str]]) -> dict[str, Any]:  # noqa: N802
        job = self._as_it_seems(self._jobs[seen.path["jobId"]])
        if job["status"]["state"] == "RUNNING":
            return {
                "kind": "bigquery#getQueryResultsResponse",
                "jobReference": job["jobReference"],
                "jobComplete": False,
            }
        if "errorResult" in job["status"]:
            raise RefusedError(400, job["status"]["errorResult"]["reason"])
        fields, rows = self._answers[seen.path["jobId"]]
        answer: dict[str, Any] = {
            "kind": "bigquery#getQueryResultsResponse",
            "jobReference": job["jobReference"],
            "jobComplete": True,
            "schema": {"fields": fields},
            "totalRows": str(len(rows)),
        }
        if query.get("maxResults") != ["0"]:
            answer["rows"] = [{"f": [{"v": _cell(value)} for value in row]} for row in rows]
        return answer

    def _query(self, name: str, told: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        if told["query"].startswith("TRUNCATE TABLE "):
            (dataset, table) = re.findall(r"`([^`]+)`", told["query"])[1:]
            self._empty((dataset, table), None)
            self._answers[name] = ([], [])
            return {"query": {"totalBytesProcessed": "0", "statementType": "TRUNCATE_TABLE"}}
        parameters = {
            each["name"]: datetime.fromisoformat(each["parameterValue"]["value"])
            for each in told.get("queryParameters", [])
        }
        for table, definition in told.get("tableDefinitions", {}).items():
            self._define(table, definition)
        sql = translate(self._with_partitions(told["query"]), Dialect.DUCKDB, parameters)
        try:
            if dry:
                self.sql.execute(f"EXPLAIN {sql}")
                return {"query": {"totalBytesProcessed": "4096"}, "totalBytesProcessed": "4096"}
            self._asked(name, told, sql)
        except duckdb.Error as error:
            raise JobFailedError("invalidQuery", str(error)) from error
        return {"query": {"totalBytesProcessed": "4096", "totalBytesBilled": "4096", "statementType": "SELECT"}}

    def _asked(self, name: str, told: Mapping[str, Any], sql: str) -> None:
        if "destinationTable" not in told:
            found = self.sql.execute(sql)
            fields = [_field(column[0], str(column[1])) for column in found.description or []]
            self._answers[name] = (fields, found.fetchall())
            return
        key, partition = self._target(told["destinationTable"])
        if told["writeDisposition"] == "WRITE_EMPTY" and self._rows(key):
            raise JobFailedError("duplicate", "Already Exists: Table")
        self.sql.execute(f"INSERT INTO {_name(*key)} BY NAME {sql}")
        self._mark(key, partition)
        self._answers[name] = ([], [])

    def _copy(self, _name_of_job: str, told: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        assert not dry
        (place,) = told["sourceTables"]
        source, from_partition = self._target(place)
        key, partition = self._target(told["destinationTable"])
        if told["writeDisposition"] != "WRITE_TRUNCATE":
            raise JobFailedError("invalid", "only overwriting is known here")
        if from_partition is not None and from_partition not in self._written[source]:
            raise JobFailedError("notFound", "Not found: partition")
        ours, theirs = self._tables[key], self._tables[source]
        for side in ("timePartitioning", "clustering"):
            if ours.get(side) != theirs.get(side):
                raise JobFailedError("invalid", f"{side} differs")
        if _shape(ours) != _shape(theirs):
            raise JobFailedError("invalid", "schema differs")
        self._empty(key, partition)
        rows = f"SELECT * FROM {_name(*source)} WHERE {self._within(source, from_partition)}"  # noqa: S608
        self.sql.execute(f"INSERT INTO {_name(*key)} {rows}")
        self._mark(key, partition)
        if partition is None:
            # As the worst that may be: the copy is like the source in everything.
            self._tables[key] |= {side: theirs[side] for side in ("schema", "expirationTime") if side in theirs}
        return {"copy": {"copiedRows": "0"}}

    def _load(self, _name_of_job: str, told: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        assert not dry
        key, partition = self._target(told["destinationTable"])
        if told["sourceFormat"] != "PARQUET" or not told["parquetOptions"]["enableListInference"]:
            raise JobFailedError("invalid", "only parquet with lists is known here")
        files = [str(path) for uri in told["sourceUris"] for path in self._fetched(uri)]
        if not files:
            raise JobFailedError("notFound", "Not found: URI")
        found = f"read_parquet([{', '.join(map(quoted, files))}], hive_partitioning = false)"
        columns = {row[0]: row[1] for row in self.sql.execute(f"DESCRIBE SELECT * FROM {found}").fetchall()}  # noqa: S608
        wanted = {each["name"]: _duckdb_type(each) for each in self._tables[key]["schema"]["fields"]}
        if {name: _TYPES.get(kind) for name, kind in columns.items()} != {
            name: _TYPES[kind] for name, kind in wanted.items()
        }:
            raise JobFailedError("invalid", "Provided Schema does not match Table")
        (total,) = self.sql.execute(f"SELECT count(*) FROM {found}").fetchall()[0]  # noqa: S608
        within = self._within(key, partition)
        (fitting,) = self.sql.execute(f"SELECT count(*) FROM {found} WHERE {within}").fetchall()[0]  # noqa: S608
        if fitting != total:
            raise JobFailedError("invalid", "Some rows belong to different partitions")
        if told["writeDisposition"] != "WRITE_APPEND":
            self._empty(key, partition)
        self.sql.execute(f"INSERT INTO {_name(*key)} BY NAME SELECT * FROM {found}")  # noqa: S608
        self._mark(key, partition)
        return {"load": {"outputRows": str(total), "inputFiles": str(len(files)), "outputBytes": "0"}}

    # ------------------------------------------------------------------------------------------------- partitions

    def _mark(self, key: tuple[str, str], partition: str | None) -> None:
        """Notes when partitions were written: the one that is named, or all that have rows."""
        cut = self._cut(key)
        now = self._now()
        if cut is None:
            self._written[key] = {None: now}
            return
        if partition is not None:
            self._written[key][partition] = now
            return
        present = self.sql.execute(f"SELECT DISTINCT {cut} FROM {_name(*key)}").fetchall()  # noqa: S608
        self._written[key] |= {row[0]: now for row in present}

    def _empty(self, key: tuple[str, str], partition: str | None) -> None:
        self.sql.execute(f"DELETE FROM {_name(*key)} WHERE {self._within(key, partition)}")  # noqa: S608
        if partition is None and self._cut(key) is not None:
            self._written[key] = {}

    def _within(self, key: tuple[str, str], partition: str | None) -> str:
        cut = self._cut(key)
        return "true" if partition is None or cut is None else f"{cut} = {quoted(partition)}"

    def _cut(self, key: tuple[str, str]) -> str | None:
        """Returns DuckDB's way to tell the partition of a row."""
        partitioning = self._tables[key].get("timePartitioning")
        if partitioning is None:
            return None
        return f"strftime({partitioning['field']}, '{_IDS[partitioning['type']]}')"

    def _with_partitions(self, query: str) -> str:
        match = _PARTITIONS.search(query)
        if match is None:
            return query
        rows = []
        for (dataset, name), written in self._written.items():
            for partition, at in written.items():
                if dataset == match[2]:
                    within = self._within((dataset, name), partition)
                    sql = f"SELECT count(*) FROM {_name(dataset, name)} WHERE {within}"  # noqa: S608
                    ((number,),) = self.sql.execute(sql).fetchall()
                    rows.append((name, partition, number, 100 * number, at))
        self.sql.execute(
            "CREATE OR REPLACE TEMP TABLE present (table_name VARCHAR, partition_id VARCHAR, total_rows BIGINT,"
            " total_logical_bytes BIGINT, last_modified_time TIMESTAMPTZ)"
        )
        if rows:
            self.sql.executemany("INSERT INTO present VALUES (?, ?, ?, ?, ?)", rows)
        return _PARTITIONS.sub("present", query)

    # ------------------------------------------------------------------------------------------------- the lake's files

    def _define(self, table: str, definition: Mapping[str, Any]) -> None:
        files = [str(path) for uri in definition["sourceUris"] for path in self._fetched(uri)]
        hive = definition.get("hivePartitioningOptions")
        folders = "false"
        if hive is not None:
            prefix, _, keys = hive["sourceUriPrefix"].partition("{")
            assert hive["mode"] == "CUSTOM"
            assert keys == "date:DATE}/{hour:INTEGER}"
            inside = re.compile(re.escape(prefix) + r"date=[^/]+/hour=\d+/[^/]+")
            assert all(inside.fullmatch(uri) for uri in definition["sourceUris"])
            folders = "true, hive_types = {date: DATE, hour: BIGINT}"
        listed = ", ".join(map(quoted, files))
        self.sql.execute(
            f"CREATE OR REPLACE TEMP VIEW {table} AS"  # noqa: S608
            f" SELECT * FROM read_parquet([{listed}], hive_partitioning = {folders})"
        )

    def _fetched(self, uri: str) -> list[Path]:
        """Brings objects of a bucket here, as they are now."""
        bucket, key = gcs.split(uri)
        client = gcs.client()
        if key.endswith("*.parquet"):
            blobs = list(client.list_blobs(bucket, prefix=key.removesuffix("*.parquet")))
        else:
            found = client.bucket(bucket).get_blob(key)
            blobs = [] if found is None else [found]
        paths = []
        for blob in blobs:
            path = self.folder / bucket / str(blob.generation) / blob.name
            path.parent.mkdir(parents=True, exist_ok=True)
            blob.download_to_filename(str(path))
            paths.append(path)
        return paths

    # ------------------------------------------------------------------------------------------------------ small

    def _dataset(self, seen: Seen) -> dict[str, Any]:
        if seen.path["datasetId"] not in self.datasets:
            raise RefusedError(404, "notFound", "Not found: Dataset")
        return self.datasets[seen.path["datasetId"]]

    def _table(self, seen: Seen) -> dict[str, Any]:
        key = (seen.path["datasetId"], seen.path["tableId"])
        if key not in self._tables:
            raise RefusedError(404, "notFound", "Not found: Table")
        return self._tables[key]

    def _target(self, place: Mapping[str, str]) -> tuple[tuple[str, str], str | None]:
        name, _, partition = place["tableId"].partition("$")
        key = (place["datasetId"], name)
        if key not in self._tables:
            raise JobFailedError("notFound", "Not found: Table")
        return key, partition or None

    def _rows(self, key: tuple[str, str]) -> int:
        ((number,),) = self.sql.execute(f"SELECT count(*) FROM {_name(*key)}").fetchall()  # noqa: S608
        return int(number)

    def _location(self, told: Mapping[str, Any]) -> str:
        return str(next(iter(self.datasets.values()))["location"]) if told else ""

    def _etag(self) -> str:
        return hashlib.sha256(str(next(self._tick)).encode()).hexdigest()[:16]

    def _now(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=next(self._tick))


@contextmanager
def serving_bigquery(folder: Path) -> Iterator[BigQuery]:
    """Runs the server, with no dataset."""
    held = BigQuery(folder)

    class Bound(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body go in two pieces, of which the second would wait for word of the first.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                status, content = held.answer(self.command, self.path, body, dict(self.headers.items()))
            except ConnectionAbortedError:
                self.close_connection = True
                return
            answer = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PATCH = do_DELETE = do_PUT = do_GET  # noqa: N815 -- the library's names

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with serving(Bound) as server:
        held.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield held
        finally:
            held.sql.close()


def _error(status: int, reason: str, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}


def _hold_etag(seen: Seen, held: Mapping[str, Any]) -> None:
    wanted = seen.headers.get("If-Match")
    if wanted is not None and wanted != held["etag"]:
        raise RefusedError(412, "conditionNotMet", "Precondition check failed")


def _name(dataset: str, table: str) -> str:
    return f'"my-project"."{dataset}"."{table}"'


def _duckdb_type(field: Mapping[str, Any]) -> str:
    kind = _TO_DUCKDB.get(field["type"], field["type"])
    kind = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}.get(kind, kind)
    return f"{kind}[]" if field.get("mode") == "REPEATED" else kind


def _column(field: Mapping[str, Any]) -> str:
    return f'"{field["name"]}" {_duckdb_type(field)}'


def _field(name: str, kind: str) -> dict[str, Any]:
    type_, mode = _TYPES[kind]
    return {"name": name, "type": type_, "mode": mode}


def _shape(table: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["name"], each["type"], each.get("mode", "NULLABLE")) for each in table["schema"]["fields"]]


def _cell(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return str(round(value.timestamp() * 1_000_000))
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
