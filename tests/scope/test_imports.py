"""Importing the package costs little: it is loaded when it is used."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import unified_exec
from tests.unit.wire_child import ROOT


def loaded_after(code: str) -> set[str]:
    """The modules a new interpreter has loaded after it ran `code`."""
    code = f"import sys; before = set(sys.modules); {code}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_itself_loads_neither_anyio_nor_asyncio() -> None:
    loaded = loaded_after("import unified_exec")
    assert not {each.partition(".")[0] for each in loaded} & {"anyio", "asyncio", "trio", "inspect", "logging"}
    assert {each for each in loaded if each.startswith("unified_exec")} == {"unified_exec"}


@pytest.mark.parametrize(
    "name",
    ["Cancelled", "RemoteError", "check_cancelled", "time_left", "current_task", "cpu_bound", "FailFast", "TaskState"],
)
def test_what_workers_use_stays_light(name: str) -> None:
    loaded = loaded_after(f"from unified_exec import {name}")
    assert not {each.partition(".")[0] for each in loaded} & {"anyio", "asyncio", "trio", "inspect", "logging"}


def test_a_scope_loads_no_event_loop_and_no_engine() -> None:
    loaded = loaded_after("from unified_exec import TaskScope")
    assert not loaded & {"asyncio", "trio", "cloudpickle", "multiprocessing", "subprocess"}
    assert not any(each.startswith("unified_exec._pools") for each in loaded)


def test_the_classes_of_the_pools_load_nothing_that_runs_tasks() -> None:
    """A worker that imports a module of the program gets them, and has no pool."""
    loaded = loaded_after("from unified_exec import ProcessPool, TaskScope, ThreadPool")
    pools = {"process", "process.pool", "process.worker_pool", "thread", "thread.pool"}
    assert {each for each in loaded if each.startswith("unified_exec._pools.")} == {
        f"unified_exec._pools.{each}" for each in pools
    }


HEAVY = {"asyncio", "cloudpickle", "dataclasses", "dis", "enum", "inspect", "logging", "pickle", "re", "socket"}
HEAVY |= {"contextvars", "subprocess", "threading", "traceback", "typing", "warnings", "weakref"}
HEAVY |= {"opcode"} if sys.version_info >= (3, 13) else set()
WORKER_MODULES = 58
"""The package's own that a worker may have loaded after its first task: each costs it a quarter of a millisecond."""

RARE = {"cloudpickle", "hashlib", "unified_exec._worker.run_generator", "unified_exec._wire.pickling.pickle_errors"}
RARE |= {"unified_exec._worker.main_file", "unified_exec._pools.process.relay", "unified_exec._pools.thread.pool"}
PROGRAM_MODULES = 146
"""The same in a program with a scope and a process task."""


@pytest.mark.skipif(sys.flags.dev_mode or bool(sys.warnoptions), reason="the interpreter itself loads `warnings`")
def test_program_and_worker_load_little_with_the_first_process_tasks(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(
        "def loaded():\n    import sys\n    return set(sys.modules) - {'__main__'}\n"  # that name would be looked into
        "def closure(found):\n    return lambda: found | loaded()\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        f"""if True:
        import sys
        import anyio
        from part import closure, loaded
        from unified_exec import call

        OFFSET = 40

        class Own:
            def names(self, found):
                self.found = found
                return self

        class OwnError(Exception):
            pass

        def fail(found):
            raise OwnError(found)

        def of_script(number, more=1):
            def inner():
                return number + more
            return OFFSET + inner(), set(sys.modules) - {{'__main__'}}

        async def main():
            plain = await call(loaded, on="process")
            value, modules = await call(of_script, 1, on="process")
            assert value == 42
            for found in plain, modules:
                print(sorted(found & {HEAVY!r}), sum(name.startswith("unified_exec") for name in found))
            here = set(sys.modules)
            print(sorted(here & {RARE!r}), sum(name.startswith("unified_exec") for name in here))
            found = (await call(Own().names, modules, on="process")).found
            try:
                await call(fail, found, on="process")
            except OwnError as error:
                (found,) = error.args
            print(sorted(await call(closure(found), on="process") & {HEAVY!r}))

        anyio.run(main)
        """
    )
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]), "PATH": ""}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True)
    *lines, in_closure = done.stdout.splitlines()
    found = [line.rpartition(" ")[::2] for line in lines]
    assert [*[names for names, _ in found], in_closure] == ["[]"] * 4
    importable, of_script, program = [int(count) for _, count in found]
    assert importable <= of_script <= WORKER_MODULES
    assert program <= PROGRAM_MODULES


def test_the_first_worker_starts_before_its_pool_is_loaded() -> None:
    code = """if True:
        import os, sys
        spawn = os.posix_spawn
        def noted(*args, **options):
            print("unified_exec._pools.process.pool" in sys.modules, "cloudpickle" in sys.modules)
            return spawn(*args, **options)
        os.posix_spawn = noted
        import anyio
        from unified_exec import call

        async def main():
            assert await call(abs, -1, on="process") == 1
            assert await call(abs, -2, on="process") == 2

        anyio.run(main)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_time_left_knows_the_deadline_of_a_program_that_has_opened_no_scope_yet() -> None:
    code = """if True:
        import anyio
        from unified_exec import TaskScope, time_left

        async def main():
            with anyio.fail_after(60):
                print(0 < time_left() <= 60)

        anyio.run(main)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_every_public_name_is_there() -> None:
    for name in unified_exec.__all__:
        assert getattr(unified_exec, name) is not None
        assert name in dir(unified_exec)
    with pytest.raises(AttributeError, match="has no attribute 'TaskScpe'"):
        unified_exec.TaskScpe  # noqa: B018


def test_the_public_names_are_those_that_the_type_checkers_see() -> None:
    """They are read from the list for the type checkers, line by line: every line of it must be understood."""
    import ast
    import inspect

    block = next(node for node in ast.parse(inspect.getsource(unified_exec)).body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    seen = {alias.asname for node in imports for alias in node.names}
    assert seen == set(unified_exec.__all__) - {"__version__"}


def test_a_package_without_its_source_has_the_same_names(tmp_path: Path) -> None:
    package = shutil.copytree(Path(unified_exec.__file__).parent, tmp_path / "unified_exec")
    shutil.rmtree(package / "cli")
    assert compileall.compile_dir(package, quiet=1, legacy=True)
    for file in package.rglob("*.py"):
        file.unlink()
    code = "import unified_exec; print(unified_exec.__file__); print(*sorted(unified_exec.__all__))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    file, names = done.stdout.splitlines()
    assert file.startswith(str(tmp_path))
    assert names.split() == sorted(unified_exec.__all__)


def test_the_name_of_a_scope_loads_little_more_than_anyio() -> None:
    """`python -m benchmarks --only import` tells what that costs."""
    more = loaded_after("from unified_exec import TaskScope") - loaded_after("import anyio")
    own = {each for each in more if each.partition(".")[0] == "unified_exec"}
    assert len(own) <= 8
    assert {each.partition(".")[0] for each in more - own} <= {
        "_contextvars",
        "_socket",
        "anyio",
        "contextvars",
        "typing_extensions",
    }
