"""Importing the package costs little: it is loaded when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import unified_exec


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


def test_the_type_checkers_see_the_names_that_exist() -> None:
    import ast
    import inspect

    block = next(
        node
        for node in ast.parse(inspect.getsource(unified_exec)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {alias.asname for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(unified_exec.__all__) - {"__version__"}
