"""A program that leaves a job in Mage's queue without a process to take it, and says whether it is done all the same.

It reads one order a line, ``[name]``, and answers each with ``true`` or ``false``: ``"as it is"`` asks the queue as
Mage has it, ``"patched"`` the one that ``etl.mage.queue_patch`` makes. Mage is imported here and not in the tests.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mage_ai.orchestration.queue.queue_factory import QueueFactory

from etl.mage.queue_patch import with_recovery

_PATIENCE: Final = {"as it is": 6.0, "patched": 120.0}
"""Seconds to wait for the job. A job that is done ends the wait; on a busy machine a process starts slowly."""


def _is_done(queue: Any, mark: Path, seconds: float) -> bool:
    queue.start()
    # What is left when the process that takes jobs looked before the job was there: two lines of ``enqueue``.
    queue.queue.put(["job", mark.touch, (), {}])
    queue.job_dict["job"] = "queued"
    end = time.monotonic() + seconds
    while time.monotonic() < end and not mark.exists():
        queue.clean_up_jobs()
        time.sleep(0.2)
    return mark.exists()


def main() -> None:
    """Does one order a line until the input ends."""
    answers = sys.stdout
    # What Mage says is no answer.
    with redirect_stdout(sys.stderr):
        patched = QueueFactory.get_queue()
        own = import_module("mage_ai.orchestration.queue.process_queue").ProcessQueue
        (as_it_is,) = own.__bases__
        assert type(patched) is own
        assert own.__name__ == with_recovery(as_it_is).__name__
        for line in sys.stdin:
            (name,) = json.loads(line)
            queue = patched if name == "patched" else as_it_is(patched.queue_config)
            done = _is_done(queue, Path(f"{name}.mark").absolute(), _PATIENCE[name])
            queue.stop()
            answers.write(json.dumps(done) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
