"""A module whose import starts process tasks of its own functions: its workers would import it, and start more."""

from __future__ import annotations

from pathlib import Path

from tests.programs.script import run_script

MODULES = {
    "in_scope": """
        import anyio
        from unified_exec import TaskScope
        async def main():
            async with TaskScope() as scope:
                return await scope.spawn(work, 3, on="process")
        def work(x):
            return x * 5
        anyio.run(main)
    """,
    "in_sync_scope": """
        from unified_exec import SyncTaskScope
        def work(x):
            return x * 5
        with SyncTaskScope() as scope:
            assert scope.spawn(work, 3).result() == 15
            scope.spawn(work, 3, on="process")
    """,
    "in_executor": """
        from unified_exec.executor import ProcessExecutor
        def work(x):
            return x * 5
        with ProcessExecutor(1) as executor:
            executor.submit(work, 3).result()
    """,
    "in_function": """
        from unified_exec import SyncTaskScope
        def work(x):
            return x * 5
        def start():
            with SyncTaskScope() as scope:
                return list(scope.map(work, [1, 2], on="process"))
    """,
    "in_worker": """
        import os
        from unified_exec import SyncTaskScope
        def work(x):
            return x * 5
        if "IN_WORKER" in os.environ:
            with SyncTaskScope() as scope:
                scope.spawn(work, 3, on="process")
    """,
    "in_task": """
        import in_function
        from unified_exec import SyncTaskScope
        with SyncTaskScope() as scope:
            answer = scope.spawn(pow, 2, 3, on="process").result()
    """,
}

PROGRAM = """
import importlib, os, traceback
from unified_exec import SerializationError, SyncTaskScope
for name in ("in_scope", "in_sync_scope", "in_executor"):
    try:
        importlib.import_module(name)
    except BaseException:
        told = traceback.format_exc()
        assert f"module {name!r} starts" in told, told
        assert "under `if __name__ == '__main__':`" in told, told
    else:
        raise AssertionError(name)
def imports():
    import in_task
    return in_task.answer
with SyncTaskScope() as scope:
    import in_function, in_task
    assert in_function.start() == [5, 10]
    assert in_task.answer == 8
    assert scope.spawn(imports, on="process").result() == 8
    assert scope.spawn(in_function.start, on="process").result() == [5, 10]
import in_worker
os.environ["IN_WORKER"] = "1"
try:
    with SyncTaskScope() as scope:
        scope.spawn(in_worker.work, 3, on="process").result()
except* SerializationError as group:
    assert "RuntimeError: module 'in_worker' starts" in str(group.exceptions[0]), group.exceptions
else:
    raise AssertionError("in_worker")
print("done")
"""


def test_a_module_that_starts_process_tasks_of_its_own_while_it_is_imported_is_told_so(tmp_path: Path) -> None:
    for name, source in MODULES.items():
        lines = source.splitlines()
        (tmp_path / f"{name}.py").write_text("\n".join(line[8:] for line in lines))
    assert "done" in run_script(tmp_path, PROGRAM, within=120)
