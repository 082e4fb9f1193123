"""Creates run options from settings, for the command line and everything else that processes hours."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from etl.archive.retry import FetchPolicy
from etl.events.emails import EmailPolicy
from etl.hour_pipeline import RunOptions
from etl.settings import Settings
from etl.source_selection import Completeness

_GIB: Final = 1 << 30


def fetch_policy(settings: Settings) -> FetchPolicy:
    """Returns the timeouts, retries and limits of downloads."""
    return FetchPolicy(
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        attempts=settings.attempts,
        backoff_first=settings.backoff_first,
        backoff_max=settings.backoff_max,
        max_bytes=int(settings.max_compressed_gib * _GIB),
        ask_timeout=settings.ask_timeout,
    )


def run_options(settings: Settings, *, refresh: bool = False, recheck: bool = False, force: bool = False) -> RunOptions:
    """Returns the options for processing an hour."""
    return RunOptions(
        emails=EmailPolicy.of(settings.emails, settings.email_key_bytes),
        max_damage=settings.max_damage,
        max_expanded=int(settings.max_expanded_gib * _GIB),
        pending_period=timedelta(hours=settings.young_hours),
        completeness=Completeness(settings.completeness),
        refresh=refresh,
        recheck=recheck,
        force=force,
        fetch=fetch_policy(settings),
    )
