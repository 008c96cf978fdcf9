"""Storms of kills in their short form; `make soak` runs them for long."""

from __future__ import annotations

import random

import anyio

from benchmarks.soak import channel_storm, interpreter_storm
from tests.this_python import needs_interpreters


def test_kills_and_cancels_lose_no_item_of_a_channel_but_those_in_the_hands_of_the_killed() -> None:
    print(anyio.run(channel_storm.run, 30, random.randrange(1 << 30), 6))


@needs_interpreters
def test_cancels_skip_no_finally_in_interpreters_and_no_task_runs_twice() -> None:
    print(anyio.run(interpreter_storm.run, 8, random.randrange(1 << 30), 0, 16))
