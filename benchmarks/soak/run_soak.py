"""The command line of the soak run."""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence

import anyio

from tests.process_tree import mark_this_run
from unified_exec import shutdown_default_pools

from . import channel_storm, interpreter_storm, lock_storm
from .epoch import Epoch
from .epoch_state import EpochState
from .kinds import named
from .watch import Baseline, Watchdog


def main(argv: Sequence[str] | None = None) -> int:
    """Run epochs until the tasks or the minutes are used up; returns 1 on a fault, exits with 4 on a hang."""
    options = _parser().parse_args(argv)
    mark_this_run()
    logging.getLogger("unified_exec").setLevel(logging.ERROR)  # threads are abandoned on purpose
    seed = options.seed if options.seed is not None else random.randrange(10**9)
    print(
        f"soak: seed {seed}, at least {options.tasks:,} tasks, {options.minutes or 'no limit of'} minutes, "
        f"bursts {options.bursts:g}",
        flush=True,
    )
    storms = (
        (lock_storm.run, options.lock_kills),
        (channel_storm.run, options.channel_kills),
        (interpreter_storm.run, options.interpreter_cancels),
    )
    for storm, number in storms:
        if number:
            print(anyio.run(storm, number, seed))
            return 0
    if options.cluster_rounds:
        from . import cluster_rounds

        summary, faults = cluster_rounds.run(options.cluster_rounds, seed)
        print(f"{summary}\n{len(faults)} faults")
        return bool(faults)
    if options.cluster_tasks:
        from . import cluster_flat

        summary, faults = cluster_flat.run(options.cluster_tasks)
        print("\n".join([summary, *faults, f"{len(faults)} faults"]))
        return bool(faults)
    soak = _Soak(options, seed)
    try:
        soak.run()
    except KeyboardInterrupt:
        print("interrupted")
    return soak.finish()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description="Random tasks on all backends and loops, with cancellations, timeouts, kills and pools that open "
        "and close; every outcome is checked. Exits with 1 if the law was broken, with 4 if something hung.",
    )
    parser.add_argument("--tasks", type=int, default=100_000, help="minimum number of tasks (100,000)")
    parser.add_argument("--minutes", type=float, default=0, help="stop after this many minutes in any case")
    parser.add_argument(
        "--lock-kills", type=int, default=0, metavar="N", help="instead: kill N holders and waiters of shared locks"
    )
    parser.add_argument(
        "--channel-kills", type=int, default=0, metavar="N", help="instead: kill and cancel N users of channels"
    )
    parser.add_argument(
        "--interpreter-cancels",
        type=int,
        default=0,
        metavar="N",
        help="instead: cancel N running tasks in interpreters",
    )
    parser.add_argument(
        "--cluster-rounds",
        type=int,
        default=0,
        metavar="N",
        help="instead: send N signals to the processes of a Dask cluster, and to the program that uses it",
    )
    parser.add_argument(
        "--cluster-tasks",
        type=int,
        default=0,
        metavar="N",
        help="instead: run N short tasks on a Dask cluster, and check that no process grows",
    )
    parser.add_argument("--seed", type=int, help="seed of all random choices (random, and printed)")
    parser.add_argument("--epoch", type=int, help="run only this epoch of the seed")
    parser.add_argument("--per-epoch", type=int, default=10_000, help="tasks per epoch (10,000)")
    parser.add_argument("--loops", default="asyncio,trio,uvloop", help="loops, in turn (asyncio,trio,uvloop)")
    parser.add_argument("--kill-every", type=float, default=0.3, metavar="S", help="mean time between kills; 0: none")
    parser.add_argument(
        "--bursts", type=float, default=0.15, metavar="SHARE", help="sessions of 300 to 3,000 mostly quick tasks (0.15)"
    )
    parser.add_argument("--only", action="append", default=[], metavar="KIND", help="e.g. process/spins, or thread")
    parser.add_argument("--without", action="append", default=[], metavar="KIND", help="leave these out")
    parser.add_argument(
        "--patience", type=float, default=60.0, metavar="S", help="report a hang after S seconds without progress (60)"
    )
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first epoch with a fault")
    return parser


class _Soak:
    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        self.options = options
        self.seed = seed
        self.kinds = named(options.only, options.without)
        self.loops = options.loops.split(",")
        self.watchdog = Watchdog(options.patience)
        self.baseline = Baseline(self.loops)
        self.tasks = 0
        self.kills = 0
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.began = time.monotonic()

    def run(self) -> None:
        numbers = [self.options.epoch] if self.options.epoch is not None else range(1_000_000)
        for number in numbers:
            self._epoch(number)
            late = self.options.minutes and time.monotonic() - self.began > 60 * self.options.minutes
            if late or self.tasks >= self.options.tasks or (self.faults and not self.options.keep_going):
                return

    def _epoch(self, number: int) -> None:
        rng = random.Random(f"{self.seed}/{number}")
        loops = [self.loops[number % len(self.loops)]]
        if rng.random() < 0.25:  # two loops at once, in two threads, sharing the pools
            loops.append(rng.choice(self.loops))
        options = self.options
        state = EpochState(f"{self.seed}/{number}", self.kinds, options.bursts)
        epoch = Epoch(state, tuple(loops), options.per_epoch, options.kill_every)
        began = time.monotonic()
        self.watchdog.epoch = epoch
        epoch.run()
        self.watchdog.epoch = None
        seconds = time.monotonic() - began
        faults = list(state.violations)
        cold = rng.random() < 0.5
        if cold:  # else the default pools stay warm for the next epoch
            faults += self._left_behind(state)
        self.faults += faults
        self.tasks += state.spawned
        self.kills += state.kills
        self.outcomes += state.outcomes
        resident = self.baseline.record_memory(self.tasks)
        print(
            f"epoch {number:>4}  {'+'.join(loops):<16} {state.spawned:>7,} tasks  {epoch.sessions:>5} sessions"
            f"  {state.spawned / seconds:>7,.0f} tasks/s  {state.kills:>3} kills  {resident >> 20:>4} MiB"
            f"  {'cold' if cold else 'warm'}  {'OK' if not faults else f'{len(faults)} FAULTS'}",
            flush=True,
        )

    def _left_behind(self, state: EpochState) -> list[str]:
        seed = state.seed
        try:
            shutdown_default_pools()
        except Exception as error:
            return [f"epoch {seed}: the default pools could not be shut down: {error!r}"]
        left = [f"epoch {seed}: left behind: {thing}" for thing in self.baseline.left()]
        for line in left:
            print(f"VIOLATION: {line}")
        return left

    def finish(self) -> int:
        """Shut everything down, check once more for leaks, print the summary and return the exit code."""
        shutdown_default_pools()
        self.faults += [f"at the end: left behind: {thing}" for thing in self.baseline.left()]
        slope, grown = self.baseline.growth()
        if grown:
            self.faults.append(grown)
        seconds = time.monotonic() - self.began
        print(f"\n{self.tasks:,} tasks in {seconds:.0f} s ({self.tasks / seconds:,.0f}/s), {self.kills} workers killed")
        print("outcomes: " + ", ".join(f"{name} {number:,}" for name, number in self.outcomes.most_common()))
        print(f"memory: {slope:+.2f} bytes per task after warm-up")
        if not self.faults:
            print("every task ended once with an allowed outcome; nothing hung, nothing was left behind")
            return 0
        print(f"{len(self.faults)} FAULTS; the first:")
        for fault in self.faults[:10]:
            print(f"  {fault}")
        print(f"to repeat: python -m benchmarks.soak --seed {self.seed} --epoch N")
        return 1
