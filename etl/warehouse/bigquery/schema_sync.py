"""Synchronizes BigQuery's tables and views with the models: they are created and extended, and never dropped.

A table may gain columns, and whatever is said about it may change. A column that is gone, of another type or mode, or
another partitioning is refused: BigQuery would need a new table, and a person has to decide that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from etl.errors import StoreError
from etl.warehouse.bigquery.client import DatasetName, Jobs, explained
from etl.warehouse.bigquery.ddl import DATASET, Cut, filled, resources

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

_TYPES: Final[Mapping[str, str]] = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
_FIELDS: Final[Mapping[str, str]] = {
    "friendlyName": "friendly_name",
    "description": "description",
    "clustering": "clustering_fields",
    "requirePartitionFilter": "require_partition_filter",
    "tableConstraints": "table_constraints",
}
"""What may be changed at any time, and the client's names for it."""
_HINT: Final = (
    "a build adds columns and never drops or rewrites a table: copy it under another name, remove it, and build again"
)


def ensure(jobs: Jobs, dataset: DatasetName, reporting: DatasetName | None, events_by: Cut) -> list[str]:
    """Creates missing tables and views, and updates the others.

    Args:
        jobs: The connection.
        dataset: Where the tables are.
        reporting: Where the views for reports are; they are made, and authorised in ``dataset``, if it is given.
        events_by: How ``events_base`` is partitioned.

    Returns:
        What was created or changed, for people.

    Raises:
        StoreError: If a table differs in a way that cannot be fixed, or a dataset cannot be read or written.
    """
    done: list[str] = []
    authorised: list[dict[str, str]] = []
    for resource in resources(events_by):
        inside = resource["tableReference"]["datasetId"] == DATASET
        if not inside and reporting is None:
            continue
        project = dataset.project
        whole = filled(resource, project=project, dataset=dataset.dataset, reporting=_name_in(reporting, project))
        done += _made_so(jobs, whole)
        if not inside:
            authorised.append(whole["tableReference"])
    if authorised:
        done += _authorised(jobs, dataset, authorised)
    return done


def settle(jobs: Jobs, resource: Mapping[str, Any]) -> None:
    """Updates the descriptions of one table, after a job that may have copied those of another one.

    Raises:
        StoreError: If it cannot be.
    """
    _made_so(jobs, resource)


def _name_in(reporting: DatasetName | None, project: str) -> str:
    if reporting is None:
        return ""
    if reporting.project != project:
        raise StoreError(
            f"{reporting} is in another project than the tables", hint=f"name a dataset of the project {project}"
        )
    return reporting.dataset


def _made_so(jobs: Jobs, resource: Mapping[str, Any]) -> list[str]:
    from google.api_core.exceptions import NotFound  # noqa: PLC0415 -- comes with the extra
    from google.cloud.bigquery import Table  # noqa: PLC0415

    place = resource["tableReference"]
    name = f"{place['projectId']}.{place['datasetId']}.{place['tableId']}"
    with explained(name):
        try:
            table = jobs.client.get_table(name, retry=jobs.retry)
        except NotFound:
            # A view is created without a schema: BigQuery refuses it there and takes it afterwards.
            first = {key: value for key, value in resource.items() if key != "schema" or "view" not in resource}
            table = jobs.client.create_table(Table.from_api_repr(first), exists_ok=True, retry=jobs.retry)
            _changed(jobs, name, table, resource)
            return [f"created {name}"]
        return _changed(jobs, name, table, resource)


def _changed(jobs: Jobs, name: str, table: Table, resource: Mapping[str, Any]) -> list[str]:
    """Updates what differs, and returns which tables changed."""
    there = table.to_api_repr()
    _refuse_another_kind(name, there, resource)
    fields = [_FIELDS[key] for key in _FIELDS if key in resource and there.get(key) != resource[key]]
    ours = {key: resource[key] for key in _FIELDS if key in resource}
    labels = {**there.get("labels", {}), **resource["labels"]}
    if labels != there.get("labels", {}):
        fields.append("labels")
    if there.get("expirationTime") is not None:
        fields.append("expires")
    if "view" in resource and there["view"]["query"] != resource["view"]["query"]:
        # Alone and first: a new query takes the descriptions of all columns away.
        table = _patched(jobs, there, {"view": resource["view"]}, ["view_query"])
        there = table.to_api_repr()
        said = [f"changed the query of {name}"]
    else:
        said = []
    schema = _schema(name, there.get("schema", {}).get("fields", []), resource)
    if schema != there.get("schema", {}).get("fields", []):
        fields.append("schema")
    if fields:
        whole = {**ours, "labels": labels, "expirationTime": None, "schema": {"fields": schema}}
        _patched(jobs, there, whole, fields)
    return said or ([f"changed {name}"] if fields else [])


def _patched(jobs: Jobs, there: Mapping[str, Any], changes: Mapping[str, Any], fields: list[str]) -> Table:
    from google.cloud.bigquery import Table  # noqa: PLC0415

    # With the etag of what was read, so that somebody else's change in between is not lost.
    return jobs.client.update_table(Table.from_api_repr({**there, **changes}), fields, retry=jobs.retry)


def _refuse_another_kind(name: str, there: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
    wanted = "VIEW" if "view" in resource else "TABLE"
    if there.get("type", wanted) != wanted:
        raise StoreError(f"{name} is a {there['type'].lower()}, and should be a {wanted.lower()}", hint=_HINT)
    is_cut, cut = (_cut(each.get("timePartitioning")) for each in (there, resource))
    if is_cut != cut:
        found, wanted = (" of ".join(each or ("nothing",)) for each in (is_cut, cut))
        raise StoreError(
            f"{name} is cut by {found}, and should be by {wanted}", hint=f"set events_by to what it is, or: {_HINT}"
        )


def _cut(partitioning: Mapping[str, Any] | None) -> tuple[str, str] | None:
    return None if partitioning is None else (str(partitioning["type"]).lower(), str(partitioning.get("field")))


def _schema(name: str, there: list[dict[str, Any]], resource: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the existing columns with the models' descriptions, followed by new columns."""
    ours = {field["name"]: field for field in resource["schema"]["fields"]}
    for field in there:
        if field["name"] not in ours:
            raise StoreError(f"{name} has a column {field['name']}, which its model has not", hint=_HINT)
        wanted = ours[field["name"]]
        for what, found in (("type", _type(field)), ("mode", field.get("mode", "NULLABLE"))):
            if found != wanted[what]:
                raise StoreError(
                    f"the column {field['name']} of {name} is {found}, and should be {wanted[what]}", hint=_HINT
                )
    known = {field["name"] for field in there}
    new = [field for field in ours.values() if field["name"] not in known]
    return [{**field, "description": ours[field["name"]]["description"]} for field in there] + new


def _type(field: Mapping[str, Any]) -> str:
    kind = str(field["type"])
    return _TYPES.get(kind, kind)


def _home(view: Mapping[str, str]) -> dict[str, str]:
    return {"projectId": view["projectId"], "datasetId": view["datasetId"]}


def _authorised(jobs: Jobs, dataset: DatasetName, views: list[dict[str, str]]) -> list[str]:
    """Authorizes the views of another dataset to read the tables of this one.

    Nothing is changed where that dataset is authorised as a whole, as Terraform does it.
    """
    from google.cloud.bigquery import AccessEntry  # noqa: PLC0415

    with explained(str(dataset)):
        found = jobs.client.get_dataset(str(dataset), retry=jobs.retry)
        entries = list(found.access_entries)
        known = [entry.entity_id for entry in entries if entry.entity_type == "view"]
        whole = [entry.entity_id["dataset"] for entry in entries if entry.entity_type == "dataset"]
        new = [view for view in views if view not in known and _home(view) not in whole]
        if not new:
            return []
        entries += [AccessEntry(entity_type="view", entity_id=view) for view in new]
        found.access_entries = entries
        jobs.client.update_dataset(found, ["access_entries"], retry=jobs.retry)
    return [f"authorised {view['projectId']}.{view['datasetId']}.{view['tableId']} in {dataset}" for view in new]
