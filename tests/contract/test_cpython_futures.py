"""CPython's own tests of `concurrent.futures`, on our executors; see `cpython_futures`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.contract import cpython_futures


@pytest.mark.timeout(600)
@pytest.mark.parametrize("module", cpython_futures.MODULES)
def test_cpythons_own_tests_pass(module: str) -> None:
    if not cpython_futures.has_tests():
        pytest.skip(f"{sys.executable} comes without {cpython_futures.PACKAGE}")
    if not cpython_futures.is_package() and module != cpython_futures.MODULES[0]:
        pytest.skip("before 3.12 it is one module, and has run as a whole")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.contract.cpython_futures", module],
        cwd=cpython_futures.ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_documentation_names_what_is_left_out() -> None:
    with open(os.path.join(cpython_futures.ROOT, "docs", "executors.md")) as page:
        lines = page.read().splitlines()
    for name, why in cpython_futures.LEFT_OUT.items():
        assert f"| `{name}` | {why} |" in lines
