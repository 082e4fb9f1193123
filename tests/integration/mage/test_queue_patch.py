"""Mage's queue with a job in it that no process takes, by Mage alone and by Mage as it is started here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.running import ROOT
from tests.orders import taking_orders


@pytest.mark.needs("mage")
def test_a_job_that_was_left_in_the_queue_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MAGE_REPO_PATH", str(tmp_path / "project"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with taking_orders("tests.integration.mage.mage_queue", tmp_path) as orders:
        # If Mage does it by itself, etl.mage.queue_patch is no longer needed.
        assert orders.give(["as it is"]) == "false"
        assert orders.give(["patched"]) == "true"
