"""The plans that several tests look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.terraform import terraforming

NAMED: dict[str, object] = {
    "project_id": "my-project",
    "region": "europe-west1",
    "alert_emails": ["data@example.com"],
}
EVERYTHING: dict[str, object] = {
    **NAMED,
    "orchestrator": "mage",
    "engine": "spark",
    "customer_key": True,
    "readers": ["group:analysts@example.com"],
    "mage": {"access": "iap", "users": ["group:data@example.com"]},
    "spark": {"reaches_internet": True},
    "events_by": "hour",
    "email_key": "not-a-secret-in-a-test",
    "email_key_version": 1,
}
WITHIN: dict[str, object] = {**NAMED, "orchestrator": "mage", "mage": {"access": "internal"}}
LEAN_WITH_SPARK: dict[str, object] = {**NAMED, "engine": "spark"}
CHOICES = {"everything": EVERYTHING, "mage from within": WITHIN, "lean with spark": LEAN_WITH_SPARK}
BOOTSTRAP: dict[str, object] = {
    "project_id": "my-project",
    "region": "europe-west1",
    "github": {"repository": "example/gharchive-etl", "repository_id": "123456"},
}


class Plans(dict[str, dict[str, Any]]):
    """Plans by name, each made when somebody looks at it first.

    Args:
        folder: A copy of ``terraform/``.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> dict[str, Any]:
        match name:
            case "dev" | "prod":
                plan = terraforming.planned(self._folder, NAMED, var_file=f"environments/{name}.tfvars")
            case "bootstrap":
                plan = terraforming.planned(self._folder / "bootstrap", BOOTSTRAP)
            case _:
                plan = terraforming.planned(self._folder, CHOICES[name])
        self[name] = plan
        return plan


@pytest.fixture(scope="session")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Plans:
    """Plans of the whole: for dev, for prod, of all there is, of other choices; and of bootstrap."""
    return Plans(terraforming.copied(terraforming.ROOT, tmp_path_factory.mktemp("plans") / "terraform"))
