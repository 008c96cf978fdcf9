"""A notebook: cells, no main guard, no async, classes and functions defined in cells.

The cells are marked in the way that editors know (`# %%`). Jupyter already runs an event loop: there write
`await call(...)` and `async with TaskScope() as scope:` instead of `with SyncTaskScope() as scope:`.

    python examples/notebook.py
"""

# %% Some data, of a class that is defined here

import random
from dataclasses import dataclass

from unified_exec import SyncTaskScope


@dataclass
class Sample:
    seed: int
    size: int = 20_000


class TooSmall(Exception):
    pass


# %% A function of it. Workers get it by value; they do not import this file


def inside_circle(sample):
    if sample.size < 100:
        raise TooSmall(sample.size)
    rng = random.Random(sample.seed)
    return sum(rng.random() ** 2 + rng.random() ** 2 <= 1 for _ in range(sample.size))


samples = [Sample(seed) for seed in range(10)]

# %% On all cores, in order

with SyncTaskScope() as scope:
    hits = list(scope.map(inside_circle, samples, on="cpu"))
print("pi is about", round(4 * sum(hits) / sum(sample.size for sample in samples), 1))

# %% An exception comes back as the notebook's own class

with SyncTaskScope() as scope:
    mixed = [Sample(1), Sample(2, size=10)]
    results = scope.map(inside_circle, mixed, on="process", return_exceptions=True)
    outcomes = list(results)
print([type(outcome) is TooSmall for outcome in outcomes])

# %% Change the function and run the cell again: the new version is sent


def inside_circle(sample):
    return f"seed {sample.seed}"


with SyncTaskScope() as scope:
    print(scope.spawn(inside_circle, samples[3], on="process").result())
