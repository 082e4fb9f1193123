"""A dataset of BigQuery as a store of tables: which partitions it has, and how they are published and removed.

A partition is put in its place by a copy job, which is free and atomic, from a table that nobody looks at and that was
made and checked before. So readers see the old partition or the new one. The state of each table lies in a bucket, as
for tables that are files; an entry counts only while BigQuery says that its partition was not written since
(``last_modified_time`` of ``INFORMATION_SCHEMA.PARTITIONS``, for an hourly table of all hours of the day).

BigQuery's limits (https://cloud.google.com/bigquery/quotas): 10,000 partitions a table, 4,000 of them written by one
job, 30,000 writes to partitions of one table a day, 1,500 writes a day to a table in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Any, Final
from uuid import uuid4

from etl.errors import StoreError, UsageError
from etl.storage.store import Store
from etl.warehouse.bigquery.client import DatasetName, Jobs, explained
from etl.warehouse.bigquery.ddl import Cut, cut_of, filled, resources
from etl.warehouse.bigquery.schema_sync import settle
from etl.warehouse.lake_inputs import Days
from etl.warehouse.models import Model, by_name, models
from etl.warehouse.table_builder import Published
from etl.warehouse.table_state import ALL, TableState, Warehouse

_FIRST_DAY: Final = date(1960, 1, 1)
_LAST_DAY: Final = date(2159, 12, 31)
"""The days that can be partitions (https://cloud.google.com/bigquery/docs/partitioned-tables)."""
MOST_PARTITIONS: Final = 10_000
"""Of one table (https://cloud.google.com/bigquery/quotas)."""

_STAGED_FOR: Final = timedelta(days=1)
"""After this, BigQuery removes what a killed build left behind."""
_COPIES_AT_ONCE: Final = 8
_PARTITION_ID: Final = re.compile(r"\d{8}(?:\d{2})?", re.ASCII)
_NOTHING: Final = Published("", 0, 0)
_FORMATS: Final[Mapping[Cut, str]] = {"day": "%Y%m%d", "hour": "%Y%m%d%H"}


@dataclass(frozen=True)
class Staged:
    """A staging table.

    Attributes:
        table: Its name in the dataset.
        rows: Number of rows, by partition ID; by "all" if it has no partitions.
    """

    table: str
    rows: Mapping[str, int]


class Dataset:
    """The tables of a dataset.

    Args:
        jobs: The connection.
        name: The dataset.
        store: The store of its state.
        events_by: How ``events_base`` is partitioned.
    """

    def __init__(self, jobs: Jobs, name: DatasetName, store: Store, events_by: Cut) -> None:
        self.jobs = jobs
        self.name = name
        self.store = store
        self._events_by = events_by
        self._warehouse = Warehouse(store)
        self._resources = {
            resource["tableReference"]["tableId"]: filled(resource, project=name.project, dataset=name.dataset)
            for resource in resources(events_by)
            if resource["tableReference"]["datasetId"] == "{dataset}"
        }
        self._published: dict[str, dict[str, Published]] | None = None

    def refuse_too_many(self, days: Collection[str]) -> None:
        """Checks that a table with these days will not exceed BigQuery's limit of partitions.

        Raises:
            StoreError: If BigQuery cannot be asked.
            UsageError: If they would.
        """
        hourly = [model.name for model in models() if cut_of(model, self._events_by) == "hour"]
        for table in hourly:
            number = len({*days, *self._all_published().get(table, {})})
            if 24 * number > MOST_PARTITIONS:
                raise UsageError(
                    f"{number:,} days by the hour are more than the {MOST_PARTITIONS:,} partitions a table may have",
                    hint=f"hours end after {MOST_PARTITIONS // 24} days: set events_by to day, or give fewer days",
                )

    def state(self, table: str) -> tuple[TableState, list[str]]:
        """Returns the state of a table, without entries that BigQuery contradicts, and the unknown partitions."""
        state = self._warehouse.recalled(table)
        standing = self._all_published().get(table, {})
        state.partitions = {
            partition: built
            for partition, built in state.partitions.items()
            if standing.get(partition, _NOTHING).generation == built.generation
        }
        return state, [
            partition for partition, found in standing.items() if found.rows and partition not in state.partitions
        ]

    def save_state(self, table: str, state: TableState) -> None:
        """Saves the state of a table."""
        self._warehouse.save_state(table, state)

    def published(self, tables: Sequence[str]) -> dict[str, dict[str, Published]]:
        """Returns which partitions some tables have, and when each was written.

        Returns:
            By table and day, or "all" for tables in one piece.

        Raises:
            StoreError: If BigQuery cannot be asked.
        """
        named = ", ".join(f"'{table}'" for table in tables)
        sql = (
            "SELECT table_name, partition_id, total_rows, total_logical_bytes, last_modified_time"  # noqa: S608 -- ours
            f" FROM `{self.name.project}`.`{self.name.dataset}`.INFORMATION_SCHEMA.PARTITIONS"
            f" WHERE table_name IN ({named})"
        )
        rows = self.jobs.query(f"the partitions of {self.name}", sql, {})
        ordered = sorted((row["table_name"], _day(row["partition_id"]), row["partition_id"] or "", row) for row in rows)
        found: dict[str, dict[str, Published]] = {}
        for (table, day), group in groupby(ordered, key=lambda each: (each[0], each[1])):
            if day is not None:
                found.setdefault(table, {})[day] = _together([each[3] for each in group])
        return found

    def stage(self, model: Model) -> str:
        """Creates an empty table with a model's columns and partitioning; returns its name.

        Raises:
            StoreError: If it cannot be made.
        """
        from google.cloud.bigquery import Table  # noqa: PLC0415 -- comes with the extra

        name = f"staged_{model.name}_{uuid4().hex[:12]}"
        resource = self._resources[model.name]
        kept = {key: value for key, value in resource.items() if key != "requirePartitionFilter"}
        expires = datetime.now(UTC) + _STAGED_FOR
        with explained(self.name.table(model.name)):
            standing = self.jobs.client.get_table(self.name.table(model.name), retry=self.jobs.retry)
            kept |= {
                "tableReference": {**resource["tableReference"], "tableId": name},
                # The columns of the table it is copied to, in the order that table has them.
                "schema": standing.to_api_repr()["schema"],
                "expirationTime": str(int(expires.timestamp() * 1000)),
            }
            self.jobs.client.create_table(Table.from_api_repr(kept), retry=self.jobs.retry)
        return name

    def counted(self, model: Model, table: str) -> Staged:
        """Counts the rows of a staged table, by partition."""
        cut = cut_of(model, self._events_by)
        if cut is None or model.partition is None:
            key = f"'{ALL}'"
        else:
            (kind,) = (column.type for column in model.columns if column.name == model.partition.field)
            written = "FORMAT_DATE" if kind == "DATE" else "FORMAT_TIMESTAMP"
            key = f"{written}('{_FORMATS[cut]}', {model.partition.field})"
        sql = f"SELECT {key} AS partition_id, COUNT(*) AS number_of_rows FROM {self.name.quoted(table)} GROUP BY 1"  # noqa: S608
        rows = self.jobs.query(f"the rows of {model.name}", sql, {})
        return Staged(table, {row["partition_id"]: row["number_of_rows"] for row in rows})

    def unstage(self, table: str) -> None:
        """Removes a staged table.

        Raises:
            StoreError: If it cannot be.
        """
        if not table.startswith("staged_"):
            raise StoreError(f"{table} is no staged table, and nothing else is ever dropped")
        with explained(table):
            self.jobs.client.delete_table(self.name.table(table), not_found_ok=True, retry=self.jobs.retry)

    def publish(self, model: Model, staged: Mapping[str, Staged]) -> Iterator[tuple[str, Published]]:
        """Publishes staged partitions by copying them, and yields each that is published.

        Args:
            model: The table.
            staged: Where each day, or "all", is.

        Raises:
            StoreError: If one cannot be copied; the others are reported first.
        """
        done: list[str] = []
        failed: StoreError | None = None
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as copiers:
            waiting = {
                copiers.submit(self._put, model, partition, source): partition for partition, source in staged.items()
            }
            for future in as_completed(waiting):
                error = future.exception()
                if error is None:
                    done.append(waiting[future])
                elif isinstance(error, StoreError):
                    failed = error
                else:
                    raise error
        there = self.published([model.name]).get(model.name, {}) if done else {}
        for partition in done:
            found = there.get(partition, _NOTHING)
            rows = sum(staged[partition].rows.get(each, 0) for each in self._ids(model, partition))
            yield partition, Published(found.generation, rows, found.bytes)
        if failed is not None:
            raise failed

    def load(self, model: Model, partition: str, files: Sequence[str]) -> int:
        """Replaces a partition, or a table without partitions, by the rows of Parquet files.

        Args:
            model: The table.
            partition: The day, or "all".
            files: Addresses in buckets.

        Returns:
            The rows that were loaded.

        Raises:
            StoreError: If they cannot be.
        """
        what = model.name if partition == ALL else f"{model.name} {partition}"
        if partition == ALL:
            return self.jobs.load(what, files, self.name.table(model.name))
        if cut_of(model, self._events_by) == "day":
            (each,) = self._ids(model, partition)
            return self.jobs.load(what, files, self.name.table(f"{model.name}${each}"))
        # A load job writes to one partition at most: the hours of the day are parted in a table nobody looks at.
        table = self.stage(model)
        rows = self.jobs.load(what, files, self.name.table(table), add=True)
        self._put(model, partition, self.counted(model, table))
        self.unstage(table)
        return rows

    def remove(self, model: Model, partition: str) -> None:
        """Removes a partition, or all rows of a table without partitions.

        Raises:
            StoreError: If it cannot be.
        """
        self._put(model, partition, Staged("", {}))

    def _put(self, model: Model, partition: str, staged: Staged) -> None:
        if partition == ALL:
            self._put_whole(model, staged)
            return
        for each in self._ids(model, partition):
            target = f"{model.name}${each}"
            if staged.rows.get(each):
                self.jobs.copy(
                    f"{model.name} {partition}",
                    self.name.table(f"{staged.table}${each}"),
                    self.name.table(target),
                )
            else:
                self._drop_partition(target)

    def _put_whole(self, model: Model, staged: Staged) -> None:
        if not staged.table:
            self.jobs.query(model.name, f"TRUNCATE TABLE {self.name.quoted(model.name)}", {})
            return
        self.jobs.copy(model.name, self.name.table(staged.table), self.name.table(model.name))
        # What a copy does to the other table's expiry and to what is said about it is not documented.
        settle(self.jobs, self._resources[model.name])

    def _drop_partition(self, target: str) -> None:
        """Removes one partition if it exists."""
        table, _, partition = target.partition("$")
        if not _PARTITION_ID.fullmatch(partition):
            raise StoreError(f"{target} is no partition, and no table is ever dropped")
        with explained(f"{table} {partition}"):
            self.jobs.client.delete_table(self.name.table(target), not_found_ok=True, retry=self.jobs.retry)

    def _ids(self, model: Model, partition: str) -> list[str]:
        """Returns the IDs of a day's partitions in BigQuery."""
        cut = cut_of(model, self._events_by)
        if cut is None:
            return [partition]
        day = partition.replace("-", "")
        return [day] if cut == "day" else [f"{day}{hour:02d}" for hour in range(24)]

    def _all_published(self) -> dict[str, dict[str, Published]]:
        if self._published is None:
            self._published = self.published([model.name for model in by_name(models()).values() if model.is_stored])
        return self._published


def within_reach(days: Days) -> Days:
    """Returns the days that BigQuery can have partitions for; only damaged records have others."""
    return Days(max(days.first or _FIRST_DAY, _FIRST_DAY), min(days.last or _LAST_DAY, _LAST_DAY))


def _day(partition_id: str | None) -> str | None:
    """Returns the day of a partition; "all" for a table without partitions, None for a partition without a day."""
    if partition_id is None:
        return ALL
    if not _PARTITION_ID.fullmatch(partition_id):
        return None
    return f"{partition_id[:4]}-{partition_id[4:6]}-{partition_id[6:8]}"


def _together(rows: Sequence[Any]) -> Published:
    """Combines the partitions of a day into one version."""
    said = [f"{row['partition_id'] or ALL} {row['last_modified_time'].isoformat()}" for row in rows]
    return Published(
        sha256("\n".join(said).encode()).hexdigest()[:32],
        sum(row["total_rows"] or 0 for row in rows),
        sum(row["total_logical_bytes"] or 0 for row in rows),
    )
