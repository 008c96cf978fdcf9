"""Whole programs, run as their own processes in a session of their own; whatever they leave behind is found."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import until

ROOT = Path(__file__).parents[2]
UVLOOP = importlib.util.find_spec("uvloop") is not None


class Ended:
    """What became of a program: its exit status, what it printed, and what it left."""

    def __init__(self, code: int, out: str, err: str, left: list[str]) -> None:
        self.code = code
        self.out = out
        self.err = err
        self.left = left

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def check(self) -> Ended:
        """Raise `AssertionError` unless it ended well, left nothing and wrote nothing to stderr."""
        assert (self.code, self.err, self.left) == (0, "", []), self
        return self

    def __repr__(self) -> str:
        return f"exit status {self.code}\nout:\n{self.out}\nerr:\n{self.err}\nleft: {self.left}"


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**inherited, "PYTHONPATH": str(ROOT), **more}


def run(
    *args: str, stdin: str | None = None, cwd: object = None, timeout: float = 60, python: str = "", **env: str
) -> Ended:
    """Run the interpreter with `args` and look at what is there afterwards."""
    with started(*args, stdin=stdin is not None, cwd=cwd, python=python, **env) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired as exc:
            raise AssertionError(f"{exc}\nout: {exc.stdout!r}\nerr: {exc.stderr!r}\n{_seen(process.pid)}") from None
        return Ended(process.returncode, out, err, left_by(process.pid))


def _seen(pid: int) -> str:
    """What a program that does not end is busy with, as far as it can be told."""
    command = [sys.executable, "-m", "unified_exec", "tree", str(pid)]
    try:
        seen = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment(), check=False)
    except subprocess.TimeoutExpired:
        return "its tree could not be had within 30 s"
    return seen.stdout + seen.stderr


def run_script(folder: Path, text: str, *args: str, flags: tuple[str, ...] = (), **options: Any) -> Ended:
    """Write `text` to a file of its own and run it."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(text))
    return run(*flags, str(script), *args, cwd=options.pop("cwd", folder), **options)


@contextmanager
def started(
    *args: str, stdin: bool = False, cwd: object = None, python: str = "", **env: str
) -> Iterator[subprocess.Popen[str]]:
    """A running program; it, and all that came of it, is killed at the end of the block."""
    process = subprocess.Popen(
        [python or sys.executable, *args],
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,  # type: ignore[arg-type]
        env=environment(**env),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for pid in session(process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait(30)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def session(leader: int) -> list[int]:
    """The living processes of a session: a worker's group is its own, its session is the program's."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.getsid(int(name)) == leader and not _is_zombie(int(name)):
                found.append(int(name))
        except ProcessLookupError:
            pass
    return found


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def left_by(leader: int, within: float = 30.0) -> list[str]:
    """What is still there of a session `within` seconds after its leader's end."""
    until(lambda: not [pid for pid in session(leader) if pid != leader], within)
    return [f"{pid}: {_command(pid)}" for pid in session(leader) if pid != leader]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return "gone"
