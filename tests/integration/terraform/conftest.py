"""Terraform or a reason why not, and the plans that several tests look at."""

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
    "email_key": "not-a-secret-in-a-test",
    "email_key_version": 1,
}
WITHIN: dict[str, object] = {**NAMED, "orchestrator": "mage", "mage": {"access": "internal"}}
LEAN_WITH_SPARK: dict[str, object] = {**NAMED, "engine": "spark"}
BOOTSTRAP: dict[str, object] = {
    "project_id": "my-project",
    "region": "europe-west1",
    "github": {"repository": "example/gharchive-etl", "repository_id": "123456"},
}


@pytest.fixture(scope="session", autouse=True)
def terraform() -> None:
    """Skips all of these tests where there is no Terraform."""
    terraforming.skip_without_terraform()


@pytest.fixture(scope="session")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Plans of the whole: for dev, for prod, of all there is, of other choices; and of bootstrap."""
    folder = terraforming.copied(terraforming.ROOT, tmp_path_factory.mktemp("plans") / "terraform")
    return {
        "dev": terraforming.planned(folder, NAMED, var_file="environments/dev.tfvars"),
        "prod": terraforming.planned(folder, NAMED, var_file="environments/prod.tfvars"),
        "everything": terraforming.planned(folder, EVERYTHING),
        "mage from within": terraforming.planned(folder, WITHIN),
        "lean with spark": terraforming.planned(folder, LEAN_WITH_SPARK),
        "bootstrap": terraforming.planned(folder / "bootstrap", BOOTSTRAP),
    }


@pytest.fixture
def a_copy(tmp_path: Path) -> Path:
    """A copy of everything, for a test to change."""
    return terraforming.copied(terraforming.ROOT, tmp_path / "terraform")
