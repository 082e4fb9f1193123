"""Links to Looker Studio: the parameters of its Linking API."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from etl.errors import UsageError
from etl.report.looker_studio import MARTS, link_to_template, links
from etl.warehouse.models import models


def said(link: str) -> dict[str, str]:
    parts = urlsplit(link)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "lookerstudio.google.com", "/reporting/create")
    assert "+" not in parts.query
    return dict(parse_qsl(parts.query, strict_parsing=True))


def test_there_is_a_link_for_each_mart() -> None:
    found = links("my-project.gharchive")

    assert tuple(found) == MARTS
    assert set(MARTS) <= {model.name for model in models()}
    assert said(found["contributors"]) == {
        "c.mode": "edit",
        "r.reportName": "GitHub events: contributors",
        "ds.connector": "bigQuery",
        "ds.datasourceName": "contributors",
        "ds.type": "TABLE",
        "ds.projectId": "my-project",
        "ds.datasetId": "gharchive",
        "ds.tableId": "contributors",
    }


def test_a_template_gets_all_marts_by_their_aliases() -> None:
    found = said(link_to_template("example.com:my-project.gharchive", "0a1b-2c"))

    assert found["c.reportId"] == "0a1b-2c"
    assert {found[f"ds.{table}.tableId"] for table in MARTS} == set(MARTS)
    assert found["ds.coverage.projectId"] == "example.com:my-project"


@pytest.mark.parametrize(
    "dataset", ["", "gharchive", "my-project.", "my-project.a.b", "my-project.a&b=c", "My.dataset"]
)
def test_what_is_no_dataset_is_refused(dataset: str) -> None:
    with pytest.raises(UsageError, match="not the name of a dataset"):
        links(dataset)


@pytest.mark.parametrize("template", ["", "a&b", "https://lookerstudio.google.com/reporting/x"])
def test_what_is_no_report_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="not the id of a report"):
        link_to_template("my-project.gharchive", template)
