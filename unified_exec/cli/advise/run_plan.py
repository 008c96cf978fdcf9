"""Which runs are made, and where: decided before the first, so that the user can be told."""

from __future__ import annotations

from typing import NamedTuple

ALONE = 3
TOGETHER = 2
COROUTINES = 5
PLACES = {
    "loop": "on the event loop",
    "thread": "in threads",
    "process": "in processes",
    "interpreter": "in an interpreter",
}


class Step(NamedTuple):
    """Runs of one kind: `runs` calls, `at_once` of them at the same time."""

    place: str
    at_once: int
    runs: int


def plan(is_async: bool, runs: int, cores: int, interpreters: bool = False) -> list[Step]:
    """Distribute at most `runs` calls, the most decisive first.

    Args:
        is_async: the function is a coroutine function.
        runs: number of calls that may be made, at least 1.
        cores: number of usable cores.
        interpreters: a plain function may be called in an interpreter, too, as the last of all.
    """
    home = "loop" if is_async else "thread"
    steps = [Step(home, 1, min(ALONE, runs))]
    left = runs - steps[0].runs
    if is_async:
        many = min(COROUTINES, left)
        return [*steps, Step("loop", many, many)] if many > 1 else steps
    pair = TOGETHER if cores > 1 else 1
    for place in ("thread", "process", "process"):  # the first calls in processes are cold
        if left >= pair and not (place == "thread" and pair == 1):
            steps.append(Step(place, pair, pair))
            left -= pair
    if interpreters and left and steps[-1].place == "process":
        steps.append(Step("interpreter", 1, 1))
    return steps


def in_words(name: str, steps: list[Step]) -> str:
    """Describe what will be run."""
    total = sum(step.runs for step in steps)
    parts: dict[str, int] = {}
    for step in steps:
        where = PLACES[step.place]
        if step.at_once > 1:
            where += f" ({step.at_once} at once)"
        elif step.place == "thread":
            where = "alone in a thread"
        parts[where] = parts.get(where, 0) + step.runs
    times = "once" if total == 1 else f"at most {total} times"
    return f"{name} is called {times}, with all its effects: " + ", ".join(
        f"{runs} {what}" for what, runs in parts.items()
    )
