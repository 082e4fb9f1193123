from __future__ import annotations

from datetime import date

from etl.warehouse.lake_inputs import DayInput, Days
from etl.warehouse.models import LAKE_EVENTS, by_name, models
from etl.warehouse.plan import BuildReason, Input, PartitionTask, partition_tasks, predicted_state
from etl.warehouse.table_state import ALL, Built, TableState

MODELS = by_name(models())
EVENTS, NAMES_DAILY, NAMES = MODELS["events_base"], MODELS["names_daily"], MODELS["names"]


def lake(**days: str) -> dict[str, Input]:
    named = {day.removeprefix("d").replace("_", "-"): version for day, version in days.items()}
    return {LAKE_EVENTS: Input.of_lake({day: DayInput(version, (day,), 100) for day, version in named.items()})}


def made(found: list[PartitionTask], state: TableState, *, lineage: str = "line") -> TableState:
    """The state after some partition tasks were built."""
    for task in found:
        if task.reason is BuildReason.GONE:
            state.partitions.pop(task.partition, None)
        else:
            state.partitions[task.partition] = Built(
                fingerprint=task.fingerprint,
                generation="g",
                rows=1,
                bytes=10,
                lineage=lineage,
                definition=task.model.fingerprint,
            )
    return state


def reasons(found: list[PartitionTask]) -> dict[str, BuildReason]:
    return {task.partition: task.reason for task in found}


def test_a_day_is_built_when_it_is_new_or_one_of_its_hours_is() -> None:
    first = partition_tasks(EVENTS, lake(d2019_01_01="a", d2019_01_02="b"), TableState(), [], Days(), full=False)
    assert reasons(first) == {"2019-01-01": BuildReason.NEW, "2019-01-02": BuildReason.NEW}
    assert sum(task.bytes for task in first) == 200
    state = made(first, TableState())
    again = partition_tasks(EVENTS, lake(d2019_01_01="a", d2019_01_02="c"), state, [], Days(), full=False)
    assert reasons(again) == {"2019-01-02": BuildReason.CHANGED}


def test_a_changed_model_is_built_again_and_the_reason_says_so() -> None:
    inputs = lake(d2019_01_01="a")
    state = made(partition_tasks(EVENTS, inputs, TableState(), [], Days(), full=False), TableState())
    changed = EVENTS.model_copy(update={"query": EVENTS.query.replace("[bot]", "[robot]")})
    assert reasons(partition_tasks(changed, inputs, state, [], Days(), full=False)) == {
        "2019-01-01": BuildReason.MODEL_CHANGED
    }
    assert partition_tasks(EVENTS, inputs, state, [], Days(), full=False) == []
    assert reasons(partition_tasks(EVENTS, inputs, state, [], Days(), full=True)) == {"2019-01-01": BuildReason.FULL}


def test_what_has_no_events_any_more_goes_and_so_does_what_nobody_knows() -> None:
    state = made(partition_tasks(EVENTS, lake(d2019_01_01="a"), TableState(), [], Days(), full=False), TableState())
    found = partition_tasks(EVENTS, lake(d2019_01_02="b"), state, ["2018-12-31"], Days(), full=False)
    assert reasons(found) == {
        "2019-01-02": BuildReason.NEW,
        "2018-12-31": BuildReason.GONE,
        "2019-01-01": BuildReason.GONE,
    }


def test_days_that_are_not_asked_for_are_left_alone() -> None:
    state = made(partition_tasks(EVENTS, lake(d2019_01_01="a"), TableState(), [], Days(), full=False), TableState())
    asked = Days(date(2019, 1, 2), date(2019, 1, 3))
    found = partition_tasks(EVENTS, lake(d2019_01_02="b", d2019_01_04="c"), state, ["2018-12-31"], asked, full=False)
    assert reasons(found) == {"2019-01-02": BuildReason.NEW}


def daily(**versions: tuple[str, str]) -> dict[str, Input]:
    days = {day.removeprefix("d").replace("_", "-"): version for day, version in versions.items()}
    return {
        "names_daily": Input(
            {day: version for day, (version, _) in days.items()},
            dict.fromkeys(days, 10),
            {day: lineage for day, (_, lineage) in days.items()},
        )
    }


def merged(inputs: dict[str, Input]) -> TableState:
    """A merge that has taken in all of this."""
    there = inputs["names_daily"]
    state = made(
        partition_tasks(NAMES, inputs, TableState(), [], Days(), full=False), TableState(definition=NAMES.fingerprint)
    )
    state.taken = {day: (version, there.lineages[day]) for day, version in there.fingerprints.items()}
    return state


def only(found: list[PartitionTask]) -> PartitionTask:
    (task,) = found
    return task


def test_a_merge_takes_in_what_is_new_alone() -> None:
    state = merged(daily(d2019_01_01=("a", "x"), d2019_01_02=("b", "y")))
    inputs = daily(d2019_01_01=("a", "x"), d2019_01_02=("c", "y"), d2019_01_03=("d", "z"))
    task = only(partition_tasks(NAMES, inputs, state, [], Days(), full=False))
    assert (task.partition, task.incremental, task.reads) == (
        ALL,
        True,
        {"names_daily": ("2019-01-02", "2019-01-03")},
    )


def test_a_merge_starts_over_when_something_was_taken_back() -> None:
    state = merged(daily(d2019_01_01=("a", "x"), d2019_01_02=("b", "y")))
    for inputs in (
        daily(d2019_01_01=("a", "x"), d2019_01_02=("c", "other line")),
        daily(d2019_01_01=("a", "x")),
    ):
        task = only(partition_tasks(NAMES, inputs, state, [], Days(), full=False))
        assert not task.incremental
        assert task.reads == {"names_daily": tuple(inputs["names_daily"].fingerprints)}


def test_a_merge_starts_over_when_its_model_changed_or_its_file_is_lost() -> None:
    inputs = daily(d2019_01_01=("a", "x"))
    state = merged(inputs)
    changed = NAMES.model_copy(update={"query": NAMES.query + "HAVING TRUE"})
    assert not only(partition_tasks(changed, inputs, state, [], Days(), full=False)).incremental
    assert not only(partition_tasks(NAMES, inputs, state, [], Days(), full=True)).incremental
    state.partitions.clear()
    assert not only(partition_tasks(NAMES, inputs, state, [], Days(), full=False)).incremental


def test_what_comes_after_a_piece_is_planned_with_it() -> None:
    there = Input({"2019-01-01": "a"}, {"2019-01-01": 5}, {"2019-01-01": "x"})
    task = PartitionTask(NAMES_DAILY, "2019-01-02", BuildReason.NEW, "b", {}, incremental=False, bytes=7)
    grown = predicted_state(task, there)
    assert grown.fingerprints == {"2019-01-01": "a", "2019-01-02": "b"}
    # How large it will be is not known before.
    assert grown.sizes == {"2019-01-01": 5, "2019-01-02": 0}
    gone = PartitionTask(NAMES_DAILY, "2019-01-01", BuildReason.GONE, "", {}, incremental=False, bytes=0)
    assert predicted_state(gone, grown).fingerprints == {"2019-01-02": "b"}
    assert there.fingerprints == {"2019-01-01": "a"}
