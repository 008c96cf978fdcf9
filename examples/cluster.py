"""The same program on this machine and on a cluster: which pool it gets is the only difference.

Here the cluster is a `LocalCluster`, which starts a Dask scheduler and a Dask worker on this machine. For a real one,
pass the address of its scheduler: `python cluster.py tcp://scheduler:8786`.
"""

import random
import sys
from contextlib import ExitStack

import anyio
from dask.distributed import LocalCluster

from unified_exec import ProcessPool, TaskScope
from unified_exec.cluster import DaskPool


def throw_darts(seed, n):
    """Return how many of `n` darts hit the quarter of a circle."""
    dice = random.Random(seed)
    return sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(n))


async def estimate_pi(pool, boards=20, darts=20_000):
    async with TaskScope(processes=pool, timeout=60) as scope:
        handles = [
            scope.spawn(throw_darts, seed, darts, on="process", timeout=30)
            for seed in range(boards)
        ]
        hits = sum(await scope.gather(*handles))
        nodes = {getattr(handle.worker, "node", "here") for handle in handles}
    return 4 * hits / (boards * darts), nodes


async def main(cluster):
    async with ProcessPool(max_workers=2) as pool:
        here, _ = await estimate_pi(pool)
    async with DaskPool(cluster) as pool:
        there, nodes = await estimate_pi(pool)
    print("worked on a node:", nodes != {"here"})
    print(f"pi is about {there:.2f}, as it is here: {there == here}")


if __name__ == "__main__":
    with ExitStack() as stack:
        if len(sys.argv) > 1:
            where = sys.argv[1]
        else:
            where = stack.enter_context(
                LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0")
            )
        anyio.run(main, where)
