"""Which e-mail policies stored hours went through, compared with the one that is set now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.coverage import arrays

REPROCESS_HINT: Final = (
    "`backfill FROM TO --force` fetches hours again under the policy that is set now;"
    " docs/runbooks/the-email-policy-changed.md tells what to consider"
)


def other_policies(emails: arrays.Column, policy: str) -> Counter[str]:
    """Counts the stored hours that went through another e-mail policy.

    Args:
        emails: The policy of each hour, as its manifest names it; null for hours without events.
        policy: The policy that is set now (``EmailPolicy.name``).

    Returns:
        Hours by policy, without those of the policy that is set now.
    """
    counted = pc.value_counts(emails.cast(pa.string()))
    names, counts = (counted.field(part).to_pylist() for part in ("values", "counts"))
    return Counter({name: count for name, count in zip(names, counts, strict=True) if name not in {None, policy}})


def describe(others: Mapping[str, int], policy: str) -> str:
    """Says in one sentence how many hours went through other policies."""
    counts = ", ".join(f"{count:,} {name}" for name, count in Counter(others).most_common())
    return f"stored hours have another e-mail policy than the one set now ({policy}): {counts}"
