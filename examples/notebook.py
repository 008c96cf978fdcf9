"""How a notebook uses it: cells one after another, no main guard, no async, classes and functions defined on the spot.

The cells are marked as editors know them (`# %%`). Inside Jupyter an event loop runs already: there write `await
call(...)` and `async with TaskScope() as scope:` instead of `with SyncTaskScope() as scope:`.

    python examples/notebook.py
"""

# %% Some data of our own class, defined right here

import random
from dataclasses import dataclass

from unified_exec import SyncTaskScope


@dataclass
class Sample:
    seed: int
    size: int = 20_000


class TooSmall(Exception):
    pass


# %% A function over it. Workers get it by value; they never import this file


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

# %% An exception class of the notebook is the same class when it comes back

with SyncTaskScope() as scope:
    outcomes = list(
        scope.map(
            inside_circle,
            [Sample(1), Sample(2, size=10)],
            on="process",
            return_exceptions=True,
        )
    )
print([type(outcome) is TooSmall for outcome in outcomes])

# %% Change the function, run the cell again: the new one is sent


def inside_circle(sample):
    return f"seed {sample.seed}"


with SyncTaskScope() as scope:
    print(scope.spawn(inside_circle, samples[3], on="process").result())
