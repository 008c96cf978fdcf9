"""Law 3: a worker that has just started survives a cancellation, whatever it is importing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.script import run_script

CANCELS = """
import asyncio, sys, time
from unified_exec import Collect, ProcessPool, TaskScope

def work():
    while True:
        time.sleep(0.001)

async def main(rounds):
    workers, seconds = [], []
    async with ProcessPool(1, grace=30) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        for _ in range(rounds):
            handle = scope.spawn(work, on="process")
            await asyncio.sleep(0.01)
            began = time.perf_counter()
            handle.cancel()
            await handle.wait()
            seconds.append(time.perf_counter() - began)
            workers.append(handle.worker)
    known = [worker for worker in workers if worker is not None]
    print(sum(a != b for a, b in zip(known, known[1:])), sorted(seconds)[int(rounds * 0.99) - 1])

asyncio.run(main(int(sys.argv[1])))
"""


@pytest.mark.parametrize("no_bytecode", ["", "1"], ids=["bytecode", "no bytecode"])
def test_a_new_worker_survives_cancellations_right_after_the_spawn(tmp_path: Path, no_bytecode: str) -> None:
    out = run_script(tmp_path, CANCELS, "200", PYTHONDONTWRITEBYTECODE=no_bytecode)
    replaced, p99 = out.split()
    assert int(replaced) <= 1
    assert float(p99) < 15.0  # none waits for the grace
