"""Breaking any one protection turns a test red."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.terraform.mutations import EVERY_FIFTH, MUTATIONS, Mutation, caught_by
from tests.integration.terraform.terraforming import ROOT


@pytest.mark.parametrize("mutation", EVERY_FIFTH, ids=lambda mutation: mutation.what.replace(" ", "-"))
def test_a_broken_protection_turns_a_test_red(mutation: Mutation, tmp_path: Path) -> None:
    assert caught_by(mutation, tmp_path)


def test_each_mutation_is_another_one() -> None:
    assert len({mutation.what for mutation in MUTATIONS}) == len(MUTATIONS)
    assert len({(mutation.file, mutation.old, mutation.new) for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what.replace(" ", "-"))
def test_what_is_to_be_broken_is_there(mutation: Mutation) -> None:
    assert mutation.old in (ROOT / mutation.file).read_text(encoding="utf-8")
    assert mutation.old != mutation.new
