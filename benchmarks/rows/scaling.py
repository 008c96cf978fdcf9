"""Real work on two workers, and how small it may become."""

from __future__ import annotations

from ..engines import processes
from ..engines.bare import TwoProcesses
from ..engines.ours import OurProcesses
from ..model import Bar, Row
from .plans import cpu_tasks, smallest_efficient_task

_WORK = cpu_tasks(64, 0.050)
_METG = smallest_efficient_task(2000)

ROWS = [
    Row(
        "scaling",
        "64 CPU tasks of 50 ms on two workers",
        "s",
        "A fixed amount of pure Python work, the same for all. The bare processes take ticket after ticket out of one "
        "pipe, so that they share the work ideally on an uneven machine too.",
        tuple(
            engine.contender(_WORK)
            for engine in (
                OurProcesses(),
                TwoProcesses(),
                TwoProcesses(processes=1),
                processes.ExecutorProcesses(),
                processes.MultiprocessingPool(),
                processes.AnyioProcesses(),
            )
        ),
        (Bar(0.95, "two bare processes", at_least=True),),
        rounds_most=7,
    ),
    Row(
        "metg",
        "smallest task at which two workers are 50 % efficient (METG)",
        "s",
        "The length d of a task for which 2,000 of them, given out at once, are through at one every d seconds.",
        tuple(
            engine.contender(_METG)
            for engine in (
                OurProcesses(),
                processes.ExecutorProcesses(),
                processes.MultiprocessingPool(),
                processes.Loky(),
                processes.AnyioProcesses(),
            )
        ),
        (Bar(0.25, "ProcessPoolExecutor"),),
        rounds_most=7,
    ),
]
