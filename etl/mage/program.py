"""Mage's own program, with a queue that forgets no job: ``python -m etl.mage.program start ...`` is ``mage start ...``.

Mage 0.9.80 puts a job into a queue and starts a process that takes jobs out until there are none
(``mage_ai/orchestration/queue/process_queue.py``). The job gets there by a thread, a moment later. A process that looks
in between, or one that was about to end when the job came, ends without it; from then on the scheduler takes the job
for queued, the run says *running*, nothing runs, and so it stays until another run starts. Seen on a busy machine;
mage-ai#6120 describes the same.
"""

from __future__ import annotations

import sys
from typing import Any

import structlog
from mage_ai.cli.main import app
from mage_ai.orchestration.queue.queue_factory import QueueFactory

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def attentive(queue: type[Any]) -> type[Any]:
    """Makes of Mage's class of queues one that looks after jobs that nobody takes.

    Args:
        queue: ``ProcessQueue``.
    """

    class AttentiveQueue(queue):  # type: ignore[misc]  # what Mage has, which is untyped
        def clean_up_jobs(self) -> None:
            """What the scheduler calls at the end of each of its looks."""
            super().clean_up_jobs()
            if not self.queue.empty() and not self.is_worker_pool_alive():
                _log.warning("a job was left in Mage's queue; it is taken up now")
                self.start_worker_pool()

    return AttentiveQueue


def mend() -> None:
    """Has Mage make its queue of that class; the module of its own is not loaded before Mage does it itself."""
    get_queue = QueueFactory.get_queue

    def get_mended_queue() -> Any:  # noqa: ANN401 -- as Mage's own
        from mage_ai.orchestration.queue import process_queue  # noqa: PLC0415

        if QueueFactory.queue is None:
            process_queue.ProcessQueue = attentive(process_queue.ProcessQueue)
        return get_queue()

    QueueFactory.get_queue = get_mended_queue


# Not under the condition below: where processes are spawned, the scheduler's gets here by another name.
mend()

if __name__ == "__main__":
    sys.exit(app())
