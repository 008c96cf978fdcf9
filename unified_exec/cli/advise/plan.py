"""Which runs are made, and where: decided before the first, so that it can be said."""

from __future__ import annotations

from typing import NamedTuple

ALONE = 3
TOGETHER = 2
COROUTINES = 5


class Step(NamedTuple):
    """Runs of one kind: `runs` calls, `at_once` of them under way together."""

    place: str
    at_once: int
    runs: int


def plan(is_async: bool, runs: int, cores: int) -> list[Step]:
    """Share out at most `runs` calls: what decides most comes first.

    Args:
        is_async: the function is a coroutine function.
        runs: calls that may be made, at least 1.
        cores: cores of this machine.
    """
    home = "loop" if is_async else "thread"
    steps = [Step(home, 1, min(ALONE, runs))]
    left = runs - steps[0].runs
    if is_async:
        many = min(COROUTINES, left)
        return [*steps, Step("loop", many, many)] if many > 1 else steps
    pair = TOGETHER if cores > 1 else 1
    for place in ("thread", "process", "process"):  # the first pair of processes is a cold one
        if left >= pair and not (place == "thread" and pair == 1):
            steps.append(Step(place, pair, pair))
            left -= pair
    return steps


def in_words(name: str, steps: list[Step]) -> str:
    """Say what will be run."""
    total = sum(step.runs for step in steps)
    parts: dict[str, int] = {}
    for step in steps:
        where = {"loop": "on the event loop", "thread": "in threads", "process": "in processes"}[step.place]
        if step.at_once > 1:
            where += f" ({step.at_once} at once)"
        elif step.place == "thread":
            where = "alone in a thread"
        parts[where] = parts.get(where, 0) + step.runs
    times = "once" if total == 1 else f"at most {total} times"
    return f"{name} is called {times}, with all its effects: " + ", ".join(
        f"{runs} {what}" for what, runs in parts.items()
    )
