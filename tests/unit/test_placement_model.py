"""The rule behind ``on="auto"``: where a function with given figures goes, and that it never flaps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unified_exec._auto.cost_model import CallStats, duration, placement_cost
from unified_exec._auto.placement_model import EVIDENCE, INTERVAL_MOST, UNKNOWN, PlacementModel, Sample

MS = 0.001
PYTHON = Sample(cpu=20 * MS, wall=20 * MS, blocked=20 * MS, pickle_cost=0.1 * MS)
RELEASING = Sample(cpu=20 * MS, wall=20 * MS, blocked=0.5 * MS, pickle_cost=0.1 * MS)
SLEEPING = Sample(cpu=0.05 * MS, wall=20 * MS, blocked=0.0)
SHORT = Sample(cpu=0.01 * MS, wall=0.01 * MS)
HEAVY = Sample(cpu=20 * MS, wall=20 * MS, blocked=20 * MS, pickle_cost=100 * MS)
MIXED = Sample(cpu=2 * MS, wall=22 * MS, blocked=2 * MS, pickle_cost=0.1 * MS)
CROWDED = Sample(cpu=20 * MS, wall=800 * MS, blocked=800 * MS, others=780 * MS, pickle_cost=0.1 * MS)
CROWDED_RELEASING = Sample(cpu=20 * MS, wall=22 * MS, blocked=20 * MS, others=20 * MS, pickle_cost=0.1 * MS)


def fed(sample: Sample, times: int = 6, cores: int = 2, batched: bool = False) -> PlacementModel:
    model = PlacementModel(cores, batched)
    for _ in range(times):
        model.add(sample)
    return model


@pytest.mark.parametrize(
    ("sample", "place", "reason"),
    [
        (PYTHON, "process", "holds the GIL"),
        (CROWDED, "process", "holds the GIL"),
        (RELEASING, "thread", "releases the GIL"),
        (CROWDED_RELEASING, "thread", "releases the GIL"),
        (SLEEPING, "thread", "waits most of the time"),
        (SHORT, "thread", "too short"),
        (HEAVY, "thread", "transfer"),
        (MIXED, "thread", "waits most of the time"),
    ],
)
def test_the_figures_of_a_function_decide_its_place_and_the_reason_says_which(
    sample: Sample, place: str, reason: str
) -> None:
    model = fed(sample)
    assert model.decision.place == model.place == place
    assert reason in model.decision.reason
    assert model.decision.figures["calls"] == 6


def test_a_function_begins_in_threads_with_an_open_decision() -> None:
    assert PlacementModel(2).decision is UNKNOWN
    assert PlacementModel(2).place == "thread"


def test_one_sample_of_a_free_gil_outweighs_many_on_a_busy_machine() -> None:
    model = fed(RELEASING, 1)
    for _ in range(3):
        model.add(RELEASING._replace(blocked=18 * MS))
    assert model.place == "thread"


def test_one_core_has_no_use_for_processes() -> None:
    model = fed(PYTHON, cores=1)
    assert model.place == "thread"
    assert "one core" in model.decision.reason


def test_nothing_moves_before_its_transfer_was_measured() -> None:
    model = fed(PYTHON._replace(pickle_cost=None), 20)
    assert model.place == "thread"
    assert model.payload_bytes()
    model.add(PYTHON)
    model.add(PYTHON)
    assert model.place == "process"


def test_a_short_function_is_never_pickled() -> None:
    assert not PlacementModel(2).payload_bytes()
    assert not fed(SHORT).payload_bytes()


def test_items_of_a_map_share_the_transfer_of_their_chunk() -> None:
    chunk = Sample(cpu=3 * MS, wall=3 * MS, blocked=3 * MS, pickle_cost=0.05 * MS, items=300)
    assert fed(chunk, batched=True).place == "process"
    assert fed(chunk._replace(cpu=0.01 * MS, wall=0.01 * MS, items=1)).place == "thread"


def test_many_calls_in_flight_hide_the_transfer_of_each() -> None:
    short = Sample(cpu=0.3 * MS, wall=0.3 * MS, blocked=0.3 * MS, pickle_cost=0.01 * MS)
    assert fed(short).place == "thread"
    assert fed(short._replace(in_flight=50)).place == "process"


def test_a_function_comes_back_when_it_stops_computing() -> None:
    model = fed(PYTHON)
    for _ in range(20):
        model.add(SLEEPING._replace(pickle_cost=0.1 * MS))
    assert model.place == "thread"
    assert model.moves == 2


def test_what_cannot_travel_comes_back_at_once_and_is_tried_again_much_later() -> None:
    model = fed(PYTHON)
    model.refuse("a socket")
    assert model.place == "thread"
    assert "a socket" in model.decision.reason
    model.add(PYTHON)
    assert model.place == "thread"
    assert "a socket" in model.decision.reason
    for _ in range(40):
        model.add(PYTHON)
    assert model.place == "process"


def test_what_is_pinned_stays_whatever_comes() -> None:
    model = fed(PYTHON)
    model.pin("it changes its arguments")
    for _ in range(100):
        model.add(PYTHON)
    assert model.place == "thread"
    assert model.decision.reason == "it changes its arguments"
    assert not any(model.due() for _ in range(1000))


def test_calls_that_were_seen_alone_outweigh_calls_in_a_crowd() -> None:
    # In a crowd the waiting of a mixed function cannot be told from its standing in line for the lock.
    model = fed(MIXED)
    for _ in range(50):
        model.add(MIXED._replace(wall=100 * MS, blocked=100 * MS, others=98 * MS))
    assert model.place == "thread"


def test_a_settled_function_is_measured_rarely_and_one_that_changes_often() -> None:
    model = PlacementModel(2)
    measured = 0
    for _ in range(10 * INTERVAL_MOST):
        if model.due():
            measured += 1
            model.add(SHORT)
    assert model.settled
    assert measured < 0.1 * INTERVAL_MOST
    for _ in range(4 * INTERVAL_MOST):
        if model.due():
            model.add(PYTHON)
    assert model.place == "process"


def test_heavy_arguments_are_seldom_pickled() -> None:
    model = fed(HEAVY)
    assert not model.payload_bytes()
    for _ in range(1000):
        model.add(HEAVY._replace(pickle_cost=None))
    assert model.payload_bytes()


samples = st.sampled_from([PYTHON, RELEASING, SLEEPING, SHORT, HEAVY, MIXED, CROWDED, CROWDED_RELEASING]) | st.builds(
    Sample,
    cpu=st.floats(0, 10),
    wall=st.floats(0, 10),
    blocked=st.none() | st.floats(0, 10),
    others=st.floats(0, 10),
    pickle_cost=st.none() | st.floats(0, 10),
    items=st.integers(0, 2000),
)


@given(st.lists(samples, max_size=400), st.integers(1, 64), st.booleans())
def test_it_never_flaps_whatever_is_seen(seen: list[Sample], cores: int, batched: bool) -> None:
    model = PlacementModel(cores, batched)
    for sample in seen:
        model.add(sample)
    # The first move may take one sample, the others 2**n * EVIDENCE each.
    assert model.moves <= 1 + math.log2(1 + len(seen) / EVIDENCE)


@given(samples, st.integers(1, 64))
def test_the_same_figures_never_move_it_twice(sample: Sample, cores: int) -> None:
    assert fed(sample, 300, cores).moves <= 1


def test_the_price_of_a_thread_call_is_its_hold_on_the_lock_and_of_a_process_call_its_share_of_the_cores() -> None:
    price = placement_cost(CallStats(cpu=10 * MS, wait=0.0, gil=10 * MS, pickle_cost=0.0), cores=4)
    assert price.thread == pytest.approx(10 * MS, rel=0.01)
    assert price.process == pytest.approx(10 * MS / 4, rel=0.05)
    assert price.gain == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 µs"), (2e-7, "0.2 µs"), (1.5e-5, "15 µs"), (0.0034, "3.4 ms"), (150, "150 s")]
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
