"""Links that create Looker Studio reports on the warehouse's BigQuery tables.

They use the Linking API: https://developers.google.com/looker-studio/integrate/linking-api. Without a template, a link
creates an empty report with one data source. With a template's id, it copies that report and points its data sources,
each named by an alias, to our tables.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlencode

from etl.errors import UsageError

MARTS: Final = ("activity_hourly", "contributors", "actions", "repositories", "coverage")
"""The tables and views that the dashboard's charts use in Looker Studio."""

_CREATE: Final = "https://lookerstudio.google.com/reporting/create"
_DATASET: Final = re.compile(
    r"(?P<project>(?:[a-z0-9][a-z0-9.-]*[a-z0-9]:)?[a-z][a-z0-9-]{4,28}[a-z0-9])\.(?P<dataset>\w{1,1024})", re.ASCII
)
_REPORT_ID: Final = re.compile(r"[\w-]{1,100}", re.ASCII)


def links(dataset: str) -> dict[str, str]:
    """Returns a link to a new report for each mart.

    Args:
        dataset: ``project.dataset`` in BigQuery.

    Raises:
        UsageError: If ``dataset`` is not a valid dataset name.
    """
    return {table: _link({"r.reportName": f"GitHub events: {table}"}, {"ds": (dataset, table)}) for table in MARTS}


def link_to_template(dataset: str, template: str) -> str:
    """Returns a link that copies a report whose data sources are named after the marts.

    Args:
        dataset: ``project.dataset`` in BigQuery.
        template: The report's id, as in its URL.

    Raises:
        UsageError: If either argument is invalid.
    """
    if not _REPORT_ID.fullmatch(template):
        raise UsageError(f"{template!r} is not the id of a report", hint="it stands in its address behind /reporting/")
    report = {"c.reportId": template, "r.reportName": "GitHub events"}
    return _link(report, {f"ds.{table}": (dataset, table) for table in MARTS})


def _link(report: dict[str, str], sources: dict[str, tuple[str, str]]) -> str:
    """Builds the URL. Spaces are percent-encoded: Looker Studio would show a plus in the report's name."""
    said = {"c.mode": "edit", **report}
    for prefix, (dataset, table) in sources.items():
        project, name = _parts(dataset)
        said |= {
            f"{prefix}.connector": "bigQuery",
            f"{prefix}.datasourceName": table,
            f"{prefix}.type": "TABLE",
            f"{prefix}.projectId": project,
            f"{prefix}.datasetId": name,
            f"{prefix}.tableId": table,
        }
    return f"{_CREATE}?{urlencode(said, quote_via=quote)}"


def _parts(dataset: str) -> tuple[str, str]:
    match = _DATASET.fullmatch(dataset)
    if match is None:
        raise UsageError(
            f"{dataset!r} is not the name of a dataset in BigQuery", hint="write it as my-project.my_dataset"
        )
    return match["project"], match["dataset"]
