"""A real PyInstaller application is built, runs tasks, cancels one and survives a crash.

Needs `pip install pyinstaller`.
Building takes minutes: `pytest -m soak -o faulthandler_timeout=900 tests/programs/test_pyinstaller.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.programs import ROOT

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

APP = """
import unified_exec
unified_exec.freeze_support()
import os, sys, time
import anyio
from unified_exec import TaskScope, WorkerCrashed, call, prestart
def square(n): return n * n, os.getpid()
def spin():
    while True: time.sleep(0.01)
async def twice(n):
    await anyio.sleep(0)
    return 2 * n
async def main():
    value, pid = await call(square, 7, on="process")
    print(value, pid != os.getpid(), await call(twice, 5, on="process"))
    async with TaskScope() as scope:
        handle = scope.spawn(spin, on="process")
        await anyio.sleep(0.3)
        handle.cancel()
    print(handle.cancelled())
    try:
        await call(os._exit, 3, on="process")
    except WorkerCrashed as error:
        print("crashed", error.exitcode)
    print((await call(square, 8, on="process"))[0])
if "ahead" in sys.argv:
    prestart()
anyio.run(main)
"""


LEFT_OUT = (
    *("IPython", "aiohttp", "dask", "distributed", "django", "httpx", "joblib", "matplotlib", "numpy", "opentelemetry"),
    *("pandas", "plotly", "prometheus_client", "psutil", "pytest", "ray", "rich", "setuptools", "textual", "tkinter"),
    *("tqdm", "trio", "unified_exec.cli", "uvloop"),
)
"""What the package may use and the application does not: PyInstaller would look through all that is installed of it."""


@pytest.mark.parametrize("how", ["onedir", "onefile"])
def test_a_pyinstaller_application_has_workers(how: str, tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller")
    (tmp_path / "app.py").write_text(APP)
    paths = [ROOT]
    subprocess.run(
        [
            *(sys.executable, "-m", "PyInstaller", f"--{how}", "--log-level", "ERROR"),
            *(f"--paths={path}" for path in paths),
            *(f"--exclude-module={name}" for name in LEFT_OUT),
            *("--hidden-import", "anyio._backends._asyncio", "app.py"),
        ],
        cwd=tmp_path,
        check=True,
        timeout=500,
    )
    executable = tmp_path / "dist" / "app" / "app" if how == "onedir" else tmp_path / "dist" / "app"
    for arguments in ([], ["ahead"]):
        done = subprocess.run(
            [executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.stdout, done.stderr) == ("49 True 10\nTrue\ncrashed 3\n64\n", ""), done
