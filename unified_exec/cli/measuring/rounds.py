"""Interleaved rounds: A B C, A B C, ... so that whatever disturbs one contender disturbs all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from .figures import MANY_OTHERS, figure
from .machine import Neighbours

CLOCK_TICKS = 0.03
"""Seconds by which the kernel's count of busy cores may be wrong (it counts in hundredths)."""
OUT_OF_TIME = "the time budget was used up"


class TurnFailed(Exception):
    """A turn failed; the text is the reason to show."""


@dataclass
class Turn:
    """One turn of one contender.

    Attributes:
        values: what was measured, by name.
        others: cores that other processes kept busy meanwhile.
        seconds: how long it took.
    """

    values: Mapping[str, Any]
    others: float
    seconds: float

    @property
    def calm(self) -> bool:
        return (self.others - MANY_OTHERS) * self.seconds <= CLOCK_TICKS


@dataclass
class Series:
    """All turns of one contender.

    Attributes:
        error: why the contender was dropped; its turns are then discarded.
    """

    turns: list[Turn] = field(default_factory=list, kw_only=True)
    error: str | None = field(default=None, kw_only=True)

    def calm_turns(self) -> list[Turn]:
        return [turn for turn in self.turns if turn.calm]

    def figure(self, measure: str, least: int) -> dict[str, Any] | None:
        """Return a figure as the JSON file has it; ``None`` if it was never measured.

        Args:
            measure: its name in the turns' values.
            least: number of calm rounds below which no figure is given.
        """
        pairs = [(turn, float(value)) for turn in self.turns if (value := turn.values.get(measure)) is not None]
        if not pairs:
            return None
        others = sum(turn.others for turn, _ in pairs) / len(pairs)
        return figure([value for turn, value in pairs if turn.calm], [value for _, value in pairs], others, least)

    def newest(self, measure: str) -> Any:
        return self.turns[-1].values.get(measure) if self.turns else None


@dataclass
class Job:
    """The turn of one contender.

    Attributes:
        what: the text for the progress display.
        open: returns a context manager that prepares the turn, untimed, and yields the function that does it.
    """

    series: Series
    what: str
    open: Callable[[], AbstractContextManager[Callable[[], Mapping[str, Any]]]]


class ProgressDisplay(Protocol):
    """Is told before each turn."""

    def turn(self, done: int, total: int, what: str) -> None: ...


def run_rounds(
    jobs: Sequence[Job], rounds: int, display: ProgressDisplay, *, least: int = 0, until: float = float("inf")
) -> str | None:
    """Give every job its turn in every round.

    Args:
        jobs: the turns of a round, in their order.
        rounds: number of rounds.
        display: shows the progress.
        least: calm turns each job needs; jobs with fewer are repeated, for at most twice as many further rounds.
        until: time on the monotonic clock after which no turn begins.

    Returns:
        `OUT_OF_TIME` if the run was cut short, else ``None``.
    """
    total = len(jobs) * rounds
    for number in range(rounds):
        for index, job in enumerate(jobs):
            if time.monotonic() > until:
                return OUT_OF_TIME
            display.turn(number * len(jobs) + index, total, job.what)
            take_turn(job)
    for _ in range(2 * rounds):
        unsettled = list(_disturbed(jobs, least))
        for job in unsettled:
            if time.monotonic() > until:
                return OUT_OF_TIME
            display.turn(total, total, f"repeated, other processes were busy: {job.what}")
            take_turn(job)
    return None


def _disturbed(jobs: Iterable[Job], least: int) -> Iterable[Job]:
    return (job for job in jobs if not job.series.error and len(job.series.calm_turns()) < least)


def take_turn(job: Job) -> None:
    """Run one turn. A job that fails is dropped: with fewer rounds than the others its figure would not be fair."""
    series = job.series
    if series.error:
        return
    try:
        with job.open() as measure:
            neighbours, began = Neighbours(), time.monotonic()
            values = measure()
            series.turns.append(Turn(values, neighbours.busy_cores(), time.monotonic() - began))
    except Exception as error:
        series.error = str(error) if isinstance(error, TurnFailed) else f"{type(error).__name__}: {error}"
        series.turns.clear()
