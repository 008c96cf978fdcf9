"""Law 8: workers end as programs do. They run what was registered with `atexit`, and the end does not wait for long."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults import programs
from tests.profiles import examples

LIBRARY = """
import atexit, os, tempfile, time
scratch = os.environ["SCRATCH"]
keeper = tempfile.TemporaryDirectory(dir=scratch)
slow = float(os.environ.get("SLOW", "0"))

def ended():
    time.sleep(slow)
    with open(f"{scratch}/ended", "a") as log:
        log.write(f"{os.getpid()}\\n")

atexit.register(ended)

def use():
    return os.getpid()

async def a_use():
    return os.getpid()

def busy():
    try:
        open(f"{scratch}/begun", "w").close()
        while True:
            time.sleep(0.01)
    finally:
        open(f"{scratch}/cleaned up", "w").close()

def stubborn():
    while True:
        try:
            busy()
        except BaseException:
            pass
"""
PROGRAMS = {
    "anyio.run": """
        import anyio, library
        from unified_exec import call

        async def main():
            await call(library.use, on="process")
            await call(library.a_use, on="process")

        anyio.run(main)
        print(2)
    """,
    "SyncTaskScope": """
        import library
        from unified_exec import SyncTaskScope
        with SyncTaskScope() as scope:
            scope.spawn(library.use, on="process").result()
        print(1)
    """,
    "prestart, an unclosed pool, a loop in another thread that is never closed": """
        import asyncio, threading, warnings
        import library
        from unified_exec import ProcessPool, call, prestart

        prestart(2)
        pool = ProcessPool(1)

        def run():
            loop = asyncio.new_event_loop()
            loop.run_until_complete(call(library.use, on=pool))
            loops.append(loop)

        loops = []
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        asyncio.run(call(library.use, on="process"))
        print(2, flush=True)
        warnings.simplefilter("ignore")
    """,
}


def run(folder: Path, text: str, **env: Any) -> tuple[programs.Ended, Path]:
    scratch = folder / "scratch"
    scratch.mkdir()
    (folder / "library.py").write_text(LIBRARY)
    return programs.run_script(folder, text, SCRATCH=str(scratch), **env), scratch


@pytest.mark.parametrize("name", PROGRAMS)
def test_idle_workers_run_their_atexit_functions_at_the_end_of_the_program(name: str, tmp_path: Path) -> None:
    ended, scratch = run(tmp_path, PROGRAMS[name])
    workers = int(ended.check().out)
    assert [path.name for path in scratch.iterdir()] == ["ended"]
    assert len((scratch / "ended").read_text().split()) == workers + 1  # the program imports it, too


DAEMON = """
    import threading, time
    import anyio, library, os
    from unified_exec import ProcessPool, call

    async def main():
        await call(getattr(library, {name!r}), on=pool)

    pool = ProcessPool(1, grace=0.3)
    threading.Thread(target=anyio.run, args=(main,), daemon=True).start()
    while not os.path.exists(library.scratch + "/begun"):
        time.sleep(0.001)
    print(time.time(), flush=True)
"""


@pytest.mark.parametrize(("name", "left"), [("busy", ["begun", "cleaned up", "ended"]), ("stubborn", None)])
def test_busy_workers_are_asked_to_stop_and_killed_after_the_grace(name: str, left: object, tmp_path: Path) -> None:
    ended, scratch = run(tmp_path, DAEMON.replace("{name!r}", repr(name)))
    assert time.time() - float(ended.check().out) < 10
    if left is not None:
        assert sorted(path.name for path in scratch.iterdir() if path.is_file()) == left


def test_atexit_functions_that_take_too_long_are_cut_short(tmp_path: Path) -> None:
    text = (
        PROGRAMS["anyio.run"].rstrip()
        + "\n        import os, time; print(os.getpid()); print(time.time(), flush=True); library.slow = 0\n"
    )
    ended, scratch = run(tmp_path, text, SLOW="60")
    lines = ended.check().lines
    assert time.time() - float(lines[-1]) < 30
    assert (scratch / "ended").read_text().split() == [lines[-2]]  # the program's own


CONFIG = """\
[run]
parallel = true
patch = subprocess
source = .
"""


@pytest.mark.skipif("COVERAGE_PROCESS_CONFIG" in os.environ, reason="this run is measured itself")
@pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="coverage is not installed")
@pytest.mark.parametrize("name", examples(["SyncTaskScope"], nightly=["anyio.run", "SyncTaskScope"]))
def test_coverage_measures_workers_with_its_documented_configuration(name: str, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "library.py").write_text(LIBRARY)
    (tmp_path / "script.py").write_text("\n".join(line[8:] for line in PROGRAMS[name].splitlines()))
    (tmp_path / ".coveragerc").write_text(CONFIG)
    for command in (["run", "script.py"], ["combine", "-q"], ["json", "-q", "-o", "report.json"]):
        ended = programs.run("-m", "coverage", *command, cwd=tmp_path, SCRATCH=str(scratch))
        assert (ended.code, ended.left) == (0, []), ended
    measured = json.loads((tmp_path / "report.json").read_text())["files"]["library.py"]["functions"]
    assert measured["use"]["summary"]["percent_covered"] == 100
