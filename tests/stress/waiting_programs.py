"""Random programs that come to their end however long anybody takes, of tasks that wait for one another. Loads fast.

A program is made of steps in one order in which they can happen: a message from one task to another, an event, a
meeting. Each pair of tasks has channels of its own, so no other order can leave anybody waiting.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any, NamedTuple

from tests.contract.waits_elsewhere import eager
from unified_exec import Barrier, Channel, Event, Lock, Semaphore, SyncTaskScope, TaskScope

Step = tuple[str, Any]


class Program(NamedTuple):
    """One step list for each task, and what plays it where."""

    places: list[tuple[Any, Any]]
    steps: list[list[Step]]


def make(rng: random.Random, tasks: int, steps: int) -> Program:
    lists: list[list[Step]] = [[] for _ in range(tasks)]
    channels: dict[tuple[int, int], Channel[int]] = {}
    slow = rng.random() * 0.06
    for _ in range(steps):
        one, two = rng.sample(range(tasks), 2)
        kind = rng.choice(("send", "send", "send", "set", "meet", "hold"))
        if kind == "send":
            channel = channels.setdefault((one, two), Channel[int](rng.randint(1, 2)))
            lists[one].append(("send", channel))
            lists[two].append(("receive", channel))
        elif kind == "set":
            event = Event()
            lists[one].append(("set", event))
            for each in rng.sample(range(tasks), rng.randint(1, tasks)):
                if each != one:
                    lists[each].append(("wait", event))
        elif kind == "meet":
            parties = rng.sample(range(tasks), rng.randint(2, tasks))
            barrier = Barrier(len(parties))
            for each in parties:
                lists[each].append(("wait", barrier))
        else:
            lock = rng.choice((Lock, lambda: Semaphore(rng.randint(1, 2))))()
            for each in (one, two):
                lists[each].append(("hold", (lock, rng.random() * slow)))
        lists[rng.randrange(tasks)].append(("sleep", rng.random() * slow))
    return Program([rng.choice(PLACES) for _ in range(tasks)], lists)


def receive(channel: Any) -> None:
    channel.receive_sync()


def play(steps: list[Step]) -> None:
    with eager():
        while steps:
            kind, what = steps.pop(0)
            if kind == "send":
                what.send_sync(1)
            elif kind == "receive":
                receive(what)  # whose variable may borrow its reference
            elif kind == "wait":
                what.wait_sync()
            elif kind == "set":
                what.set()
            elif kind == "sleep":
                time.sleep(what)
            else:
                with what[0]:
                    time.sleep(what[1])
            del what


async def a_play(steps: list[Step]) -> None:
    import anyio

    with eager():
        while steps:
            kind, what = steps.pop(0)
            if kind == "send":
                await what.send(1)
            elif kind == "receive":
                await what.receive()
            elif kind == "wait":
                await what.wait()
            elif kind == "set":
                what.set()
            elif kind == "sleep":
                await anyio.sleep(what)
            else:
                async with what[0]:
                    await anyio.sleep(what[1])
            del what


def hand_on(fn: Any, on: Any, steps: list[Step]) -> None:
    with SyncTaskScope() as scope:
        scope.spawn(fn, steps, on=on)
        del steps


async def a_hand_on(fn: Any, on: Any, steps: list[Step]) -> None:
    async with TaskScope() as scope:
        scope.spawn(fn, steps, on=on)
        del steps


PLACES: list[tuple[Any, Any]] = [
    (a_play, "loop"),
    (play, "thread"),
    (play, "process"),
    (a_play, "process"),
    (partial(hand_on, play, "thread"), "thread"),
    (partial(hand_on, play, "thread"), "process"),
    (partial(hand_on, play, "process"), "process"),
    (partial(a_hand_on, a_play, "process"), "process"),
]
"""Functions, and where they run. The last ones hand the steps on to a task of theirs, also in a nested worker."""
