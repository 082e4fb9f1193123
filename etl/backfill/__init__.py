"""Many hours: what of a range is due, and the bringing of it, one hour a process.

It keeps no record of its own. What is to be done is asked of the lake each time, so that a backfill which was
stopped, by whatever, goes on when it is started again, and several may run side by side.
"""

from etl.backfill.crew import Crew, CrewError, Progress
from etl.backfill.plan import Plan, Redo, plan, warn_of_other_policies
from etl.backfill.run import BackfillWatch, Hands, Patience, backfill
from etl.backfill.sizes import Estimate, estimate
from etl.backfill.summary import Ending, HourReport, Summary
from etl.backfill.worker import Job, LogTerms

__all__ = [
    "BackfillWatch",
    "Crew",
    "CrewError",
    "Ending",
    "Estimate",
    "Hands",
    "HourReport",
    "Job",
    "LogTerms",
    "Patience",
    "Plan",
    "Progress",
    "Redo",
    "Summary",
    "backfill",
    "estimate",
    "plan",
    "warn_of_other_policies",
]
