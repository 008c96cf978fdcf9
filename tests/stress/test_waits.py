"""Clause 9: who waits for somebody that is slow is never told that the wait has no end."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.stress.waiting_programs import make
from unified_exec import ProcessPool, TaskScope

SECONDS = float(os.environ.get("WAITING_PROGRAMS_SECONDS", "2"))


@pytest.mark.usefixtures("looks_at_once")
@pytest.mark.timeout(60 + 2 * SECONDS)
async def test_a_program_that_comes_to_its_end_has_no_deadlock() -> None:
    seed, end, count = random.randrange(1 << 30), time.monotonic() + SECONDS, 0
    async with ProcessPool(6) as pool:
        while time.monotonic() < end:
            print("seed", seed + count)
            rng = random.Random(seed + count)
            async with TaskScope(processes=pool) as scope:
                places, lists = make(rng, rng.randint(2, 6), rng.randint(3, 30))
                while lists:
                    fn, on = places.pop()
                    scope.spawn(fn, lists.pop(), on=on)
            count += 1
    print(count, "programs")
