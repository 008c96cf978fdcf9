"""Whether a program will want a worker is said from its code."""

from __future__ import annotations

import pytest

from unified_exec._rules.foresight import names_process_work


def of(source: str, cores_are_threads: bool = False) -> bool:
    return names_process_work(compile(source, "program", "exec"), cores_are_threads)


@pytest.mark.parametrize(
    "source",
    [
        "async def main():\n    async with TaskScope() as scope:\n        scope.spawn(f, on='process')",
        "async def main():\n    def inner():\n        spawn(f, on='cpu')",
        "from unified_exec import TaskScope, cpu_bound",
        "import unified_exec\npool = unified_exec.ProcessPool(2)",
        "from unified_exec.executor import ProcessExecutor",
    ],
)
def test_a_program_that_spells_out_process_work_wants_a_worker(source: str) -> None:
    assert of(source)


@pytest.mark.parametrize(
    "source",
    [
        "from unified_exec import TaskScope\nscope.spawn(f, on='thread')",
        "'''It starts no process.'''\nfrom unified_exec import blocking",
        "process = 1\ncpu = process",
    ],
)
def test_any_other_program_does_not(source: str) -> None:
    assert not of(source)


def test_cpu_work_wants_no_process_where_threads_run_in_parallel() -> None:
    assert not of("spawn(f, on='cpu')", cores_are_threads=True)
    assert not of("from unified_exec import cpu_bound", cores_are_threads=True)
    assert of("spawn(f, on='process')", cores_are_threads=True)
