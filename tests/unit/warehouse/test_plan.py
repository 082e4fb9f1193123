from __future__ import annotations

from datetime import date

from etl.warehouse.lake_inputs import DayInput, Days
from etl.warehouse.models import LAKE_EVENTS, by_name, models
from etl.warehouse.plan import Input, Piece, Reason, after, pieces
from etl.warehouse.table_state import ALL, Built, TableState

MODELS = by_name(models())
EVENTS, NAMES_DAILY, NAMES = MODELS["events_base"], MODELS["names_daily"], MODELS["names"]


def lake(**days: str) -> dict[str, Input]:
    named = {day.removeprefix("d").replace("_", "-"): version for day, version in days.items()}
    return {LAKE_EVENTS: Input.of_lake({day: DayInput(version, (day,), 100) for day, version in named.items()})}


def made(found: list[Piece], state: TableState, *, lineage: str = "line") -> TableState:
    """The state after some pieces were built."""
    for piece in found:
        if piece.reason is Reason.GONE:
            state.partitions.pop(piece.partition, None)
        else:
            state.partitions[piece.partition] = Built(
                fingerprint=piece.fingerprint, generation="g", rows=1, bytes=10, lineage=lineage
            )
    return state


def reasons(found: list[Piece]) -> dict[str, Reason]:
    return {piece.partition: piece.reason for piece in found}


def test_a_day_is_built_when_it_is_new_or_one_of_its_hours_is() -> None:
    first = pieces(EVENTS, lake(d2019_01_01="a", d2019_01_02="b"), TableState(), [], Days(), full=False)
    assert reasons(first) == {"2019-01-01": Reason.NEW, "2019-01-02": Reason.NEW}
    assert sum(piece.bytes for piece in first) == 200
    state = made(first, TableState())
    again = pieces(EVENTS, lake(d2019_01_01="a", d2019_01_02="c"), state, [], Days(), full=False)
    assert reasons(again) == {"2019-01-02": Reason.CHANGED}


def test_a_changed_model_is_built_anew() -> None:
    inputs = lake(d2019_01_01="a")
    state = made(pieces(EVENTS, inputs, TableState(), [], Days(), full=False), TableState())
    changed = EVENTS.model_copy(update={"query": EVENTS.query.replace("[bot]", "[robot]")})
    assert reasons(pieces(changed, inputs, state, [], Days(), full=False)) == {"2019-01-01": Reason.CHANGED}
    assert pieces(EVENTS, inputs, state, [], Days(), full=False) == []
    assert reasons(pieces(EVENTS, inputs, state, [], Days(), full=True)) == {"2019-01-01": Reason.FULL}


def test_what_has_no_events_any_more_goes_and_so_does_what_nobody_knows() -> None:
    state = made(pieces(EVENTS, lake(d2019_01_01="a"), TableState(), [], Days(), full=False), TableState())
    found = pieces(EVENTS, lake(d2019_01_02="b"), state, ["2018-12-31"], Days(), full=False)
    assert reasons(found) == {"2019-01-02": Reason.NEW, "2018-12-31": Reason.GONE, "2019-01-01": Reason.GONE}


def test_days_that_are_not_asked_for_are_left_alone() -> None:
    state = made(pieces(EVENTS, lake(d2019_01_01="a"), TableState(), [], Days(), full=False), TableState())
    asked = Days(date(2019, 1, 2), date(2019, 1, 3))
    found = pieces(EVENTS, lake(d2019_01_02="b", d2019_01_04="c"), state, ["2018-12-31"], asked, full=False)
    assert reasons(found) == {"2019-01-02": Reason.NEW}


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
    state = made(pieces(NAMES, inputs, TableState(), [], Days(), full=False), TableState(definition=NAMES.fingerprint))
    state.taken = {day: (version, there.lineages[day]) for day, version in there.fingerprints.items()}
    return state


def only(found: list[Piece]) -> Piece:
    (piece,) = found
    return piece


def test_a_merge_takes_in_what_is_new_alone() -> None:
    state = merged(daily(d2019_01_01=("a", "x"), d2019_01_02=("b", "y")))
    inputs = daily(d2019_01_01=("a", "x"), d2019_01_02=("c", "y"), d2019_01_03=("d", "z"))
    piece = only(pieces(NAMES, inputs, state, [], Days(), full=False))
    assert (piece.partition, piece.onto, piece.reads) == (ALL, True, {"names_daily": ("2019-01-02", "2019-01-03")})


def test_a_merge_begins_anew_when_something_was_taken_back() -> None:
    state = merged(daily(d2019_01_01=("a", "x"), d2019_01_02=("b", "y")))
    for inputs in (
        daily(d2019_01_01=("a", "x"), d2019_01_02=("c", "other line")),
        daily(d2019_01_01=("a", "x")),
    ):
        piece = only(pieces(NAMES, inputs, state, [], Days(), full=False))
        assert not piece.onto
        assert piece.reads == {"names_daily": tuple(inputs["names_daily"].fingerprints)}


def test_a_merge_begins_anew_when_its_model_changed_or_its_file_is_lost() -> None:
    inputs = daily(d2019_01_01=("a", "x"))
    state = merged(inputs)
    changed = NAMES.model_copy(update={"query": NAMES.query + "-- else"})
    assert not only(pieces(changed, inputs, state, [], Days(), full=False)).onto
    assert not only(pieces(NAMES, inputs, state, [], Days(), full=True)).onto
    state.partitions.clear()
    assert not only(pieces(NAMES, inputs, state, [], Days(), full=False)).onto


def test_what_comes_after_a_piece_is_planned_with_it() -> None:
    there = Input({"2019-01-01": "a"}, {"2019-01-01": 5}, {"2019-01-01": "x"})
    piece = Piece(NAMES_DAILY, "2019-01-02", Reason.NEW, "b", {}, onto=False, bytes=7)
    grown = after(piece, there)
    assert grown.fingerprints == {"2019-01-01": "a", "2019-01-02": "b"}
    # How large it will be is not known before.
    assert grown.sizes == {"2019-01-01": 5, "2019-01-02": 0}
    gone = Piece(NAMES_DAILY, "2019-01-01", Reason.GONE, "", {}, onto=False, bytes=0)
    assert after(gone, grown).fingerprints == {"2019-01-02": "b"}
    assert there.fingerprints == {"2019-01-01": "a"}
