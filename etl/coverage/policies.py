"""Finds stored hours whose e-mail policy differs from the configured one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.coverage import arrays

REPROCESS_HINT: Final = (
    "use `backfill FROM TO --force` to process hours with the configured policy;"
    " see docs/runbooks/the-email-policy-changed.md first"
)


def other_policies(emails: arrays.Column, policy: str) -> Counter[str]:
    """Counts the stored hours that were processed with another e-mail policy.

    Args:
        emails: The policy of each hour, from its manifest; null for hours without events.
        policy: Name of the configured policy (``EmailPolicy.name``).

    Returns:
        Number of hours by policy, without the configured policy.
    """
    counted = pc.value_counts(emails.cast(pa.string()))
    names, counts = (counted.field(part).to_pylist() for part in ("values", "counts"))
    return Counter({name: count for name, count in zip(names, counts, strict=True) if name not in {None, policy}})


def describe(others: Mapping[str, int], policy: str) -> str:
    """Returns a message with the number of hours by other policy."""
    counts = ", ".join(f"{count:,} {name}" for name, count in Counter(others).most_common())
    return f"stored hours have another e-mail policy than the configured one ({policy}): {counts}"
