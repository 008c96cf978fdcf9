"""When a figure is given, and when it is not."""

from __future__ import annotations

import pytest

from unified_exec.cli.bench.model_costs import POINTS, quantiles
from unified_exec.cli.measuring.figures import beyond_noise, column_medians, figure, shown, times
from unified_exec.cli.measuring.rounds import Series, Turn


def series(*turns: tuple[float, float]) -> Series:
    return Series(turns=[Turn({"seconds": value}, others, 1.0) for value, others in turns])


def test_a_figure_is_the_median_of_the_calm_rounds() -> None:
    found = series((1.0, 0.0), (1.1, 0.1), (9.0, 1.5), (1.2, 0.0)).figure("seconds", 3)
    assert found is not None
    assert found["median"] == 1.1
    assert found["noise"] is None
    assert found["samples"] == [1.0, 1.1, 9.0, 1.2]


def test_too_few_calm_rounds_give_no_figure_but_the_reason() -> None:
    found = series((1.0, 0.0), (1.1, 1.0), (1.0, 1.0)).figure("seconds", 2)
    assert found is not None
    assert found["median"] is None
    assert "1 of the 2 rounds needed were calm" in found["noise"]


def test_rounds_that_lie_far_apart_give_no_figure_but_the_reason() -> None:
    found = figure([1.0, 2.0, 3.0, 1.0], [1.0, 2.0, 3.0, 1.0], 0.0, 2)
    assert found["median"] is None
    assert "the interquartile range is" in found["noise"]


def test_a_measure_that_was_never_read_has_no_figure() -> None:
    assert series((1.0, 0.0)).figure("metg", 1) is None


def test_the_kernels_coarse_account_disturbs_no_short_turn() -> None:
    assert Turn({}, others=1.0, seconds=0.02).calm
    assert not Turn({}, others=1.0, seconds=0.2).calm


def calm(median: float, spread: float) -> dict[str, object]:
    return {"median": median, "spread": spread}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        (calm(1.0, 0.0), calm(1.04, 0.0), False),
        (calm(1.0, 0.0), calm(1.06, 0.0), True),
        (calm(1.0, 0.1), calm(1.12, 0.1), False),
        (calm(1.0, 0.1), calm(0.8, 0.1), True),
    ],
)
def test_a_change_counts_beyond_both_spreads_and_five_per_cent(
    old: dict[str, object], new: dict[str, object], changed: bool
) -> None:
    assert beyond_noise(old, new) is changed


def test_quantiles_run_from_the_least_to_the_greatest() -> None:
    found = quantiles([float(n) for n in range(1000, 0, -1)])
    assert (found[0], found[-1], len(found)) == (1.0, 1000.0, POINTS)
    assert quantiles([]) == []
    assert column_medians([[1.0, 4.0], [3.0, 6.0], [2.0, 5.0]]) == [2.0, 5.0]


def test_figures_are_shown_with_three_digits_and_a_fitting_unit() -> None:
    assert [shown(0.00123, "s"), shown(2048, "bytes"), shown(1.5, "")] == ["1.23 ms", "2 KiB", "1.5"]
    assert [times(0.012345), times(1.987), times(1234.5)] == ["0.0123 ×", "1.99 ×", "1,234 ×"]
