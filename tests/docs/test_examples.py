"""Every example in README.md, docs/ and the docstrings runs, as a script of its own, as it is printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import codeblocks

EXAMPLES = codeblocks.everywhere(Path(__file__).parents[2])


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.place for example in EXAMPLES])
def test_the_example_runs_as_it_is_printed(example: codeblocks.Example, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(example.code, encoding="utf-8")
    command = [sys.executable, "-X", "dev", "-W", "error", str(script)]

    done = subprocess.run(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, f"{example.place} ended with {done.returncode}:\n{done.stderr}"
    assert done.stderr == "", f"{example.place} wrote to stderr:\n{done.stderr}"
    if example.prints is not None:
        assert done.stdout == example.prints
