"""A worker's interpreter is the program's: its options, and the limits and warning filters that were set later."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.programs import run_script

OPTIONS = [
    ("-X", "int_max_str_digits=0"),
    ("-X", "no_debug_ranges", "-X", "utf8=1", "-X", "pycache_prefix=/tmp/nowhere"),
    ("-X", "dev", "-W", "error", "-X", "warn_default_encoding"),
]
if sys.version_info >= (3, 13):
    OPTIONS.append(("-X", "cpu_count=7"))

LOOK = """
import os, sys
from unified_exec import ProcessPool, SyncTaskScope, call
def look():
    import os, sys
    flags = [getattr(sys.flags, name) for name in ("dev_mode", "utf8_mode", "optimize", "warn_default_encoding")]
    return [dict(sys._xoptions), flags, sys.get_int_max_str_digits(), os.cpu_count(), sys.getrecursionlimit(),
            sys.getswitchinterval(), sys.dont_write_bytecode, sys.pycache_prefix]
def unlike(theirs):
    return [pair for pair in zip(look(), theirs, strict=True) if pair[0] != pair[1]]
async def from_a_loop():
    return look()
"""


@pytest.mark.parametrize("options", OPTIONS, ids="".join)
def test_the_options_of_the_program_are_those_of_its_workers(options: tuple[str, ...], tmp_path: Path) -> None:
    """Without a warning of ours, whichever backend is used."""
    code = f"""{LOOK}
from unified_exec.executor import ProcessExecutor, ThreadExecutor
with SyncTaskScope() as scope:
    print(unlike(scope.spawn(look, on="process").result()), unlike(scope.spawn(from_a_loop, on="process").result()))
    assert list(scope.map(abs, range(3), on="process")) == [0, 1, 2]
    scope.spawn(look, on="thread").result()
with ProcessExecutor(1) as processes, ThreadExecutor(1) as threads:
    print(unlike(processes.submit(look).result()), unlike(threads.submit(look).result()))
"""
    ended = run_script(tmp_path, code, flags=options)
    assert ended.out == "[] []\n[] []\n", ended
    # In its debug mode asyncio notes each callback that takes long, such as the first import of a backend.
    assert not [line for line in ended.err.splitlines() if not line.startswith("Executing <")], ended


def test_limits_that_the_program_has_set_are_those_of_its_workers(tmp_path: Path) -> None:
    code = f"""{LOOK}
sys.set_int_max_str_digits(9000); sys.setrecursionlimit(3210); sys.setswitchinterval(0.25)
sys.dont_write_bytecode, sys.pycache_prefix = True, "/tmp/nowhere"
with SyncTaskScope() as scope:
    print(unlike(scope.spawn(look, on="process").result()), unlike(scope.spawn(from_a_loop, on="process").result()))
"""
    assert run_script(tmp_path, code).check().out == "[] []\n"


def test_warning_filters_that_the_program_has_set_are_those_of_its_workers(tmp_path: Path) -> None:
    """A category is matched by name: its module is not imported in a worker for the sake of a filter."""
    (tmp_path / "heavy.py").write_text("class Fancy(UserWarning): pass\n")
    code = """
import re, sys, warnings
import heavy
from unified_exec import SyncTaskScope
class Own(UserWarning): pass
warnings.filterwarnings("ignore", message="converge")
warnings.filterwarnings("ignore", module="noisy")
warnings.simplefilter("error", Own)
warnings.simplefilter("error", heavy.Fancy)
def noisy():
    warnings.warn("converge: not yet")
    warnings.warn_explicit("hidden", UserWarning, "noisy.py", 1, module="noisy")
    loaded = ["heavy" in sys.modules]
    import heavy
    for category in (Own, heavy.Fancy):
        try:
            warnings.warn("raised", category)
        except category as error:
            loaded.append(str(error))
    return loaded
def nested():
    with SyncTaskScope() as scope:
        return scope.spawn(noisy, on="process").result()
with SyncTaskScope() as scope:
    print(scope.spawn(noisy, on="process").result(), scope.spawn(nested, on="process").result())
"""
    expected = "[False, 'raised', 'raised']"
    path = f"{Path(__file__).parents[2]}:{tmp_path}"
    assert run_script(tmp_path, code, PYTHONPATH=path).check().out == f"{expected} {expected}\n"
