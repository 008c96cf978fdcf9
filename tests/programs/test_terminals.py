"""Workers of a program that runs at a terminal: each is in a background process group there."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import until

# A test runner has threads, which CPython 3.15 warns of at each fork.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

HEAD = """
import os, subprocess, sys, termios, time
import anyio
from unified_exec import call

def note(*what):
    with open("notes", "a") as file:
        print(*what, file=file, flush=True)

"""

WRITES = """
def task():
    print("hello", flush=True)
    subprocess.run(["sh", "-c", "echo from a child"], check=True)
    terminal = os.open("/dev/tty", os.O_RDWR)
    termios.tcsetattr(terminal, termios.TCSADRAIN, termios.tcgetattr(terminal))
    return "written"
"""

READS = """
def task():
    try:
        open("/dev/tty").readline()
    except OSError as error:
        found = error.strerror
    child = subprocess.run(["sh", "-c", "read line </dev/tty || echo refused"], stdout=subprocess.PIPE, text=True)
    return found, child.stdout.strip()
"""

RUN = """
async def main():
    note(await call(task, on="process"))

anyio.run(main)
"""

STEPS = """
def task():
    while True:
        note("step")
        time.sleep(0.01)

if "own" in sys.argv:
    import signal
    def own(signum, frame):
        note("own handler")
    signal.signal(signal.SIGTSTP, own)

async def main():
    await call(task, on="process")

anyio.run(main)
"""


class Shell:
    """Stands for a shell with job control: a session of its own at a terminal, whose foreground job is the program."""

    def __init__(self, folder: Path, *args: str, tostop: bool = False) -> None:
        self.notes = folder / "notes"
        self.master, slave = pty.openpty()
        mode = termios.tcgetattr(slave)
        if tostop:
            mode[3] |= termios.TOSTOP
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        told, tell = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.setsid()
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
                signal.signal(signal.SIGTTOU, signal.SIG_IGN)
                job = os.fork()
                if not job:
                    os.setpgid(0, 0)
                    os.tcsetpgrp(slave, os.getpid())
                    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
                    os.chdir(folder)
                    for fd in range(3):
                        os.dup2(slave, fd)
                    os.execv(sys.executable, [sys.executable, "program.py", *args])
                os.write(tell, str(job).encode())
                while not os.WIFEXITED(status := os.waitpid(job, os.WUNTRACED)[1]) and not os.WIFSIGNALED(status):
                    pass
            finally:
                os._exit(0)
        self.job = int(os.read(told, 20))
        for fd in (told, tell, slave):
            os.close(fd)

    def text(self) -> str:
        return self.notes.read_text() if self.notes.exists() else ""

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def is_stopped(self) -> bool:
        return Path(f"/proc/{self.job}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def resume(self) -> None:
        """What `fg` does."""
        os.killpg(self.job, signal.SIGCONT)

    def close(self) -> None:
        for pid in (self.job, self.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        os.waitpid(self.pid, 0)
        os.close(self.master)


@contextmanager
def shell(folder: Path, program: str, *args: str, tostop: bool = False) -> Iterator[Shell]:
    (folder / "program.py").write_text(HEAD + program)
    it = Shell(folder, *args, tostop=tostop)
    try:
        yield it
    finally:
        it.close()


def test_output_and_modes_of_the_terminal_never_stop_a_worker_or_its_children(tmp_path: Path) -> None:
    with shell(tmp_path, WRITES + RUN, tostop=True) as it:
        assert until(lambda: "written" in it.text(), 30)


def test_reading_the_terminal_is_an_error_of_the_task(tmp_path: Path) -> None:
    with shell(tmp_path, READS + RUN) as it:
        assert until(lambda: it.text().count("\n"), 30)
        assert it.text() == "('Input/output error', 'refused')\n"


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@needs_proc
def test_workers_stop_with_their_program_at_ctrl_z_and_go_on_with_it(tmp_path: Path) -> None:
    with shell(tmp_path, STEPS) as it:
        for _ in range(2):
            before = it.text().count("step")
            assert until(lambda before=before: it.text().count("step") > before + 5, 30)  # type: ignore[misc]
            it.type(b"\x1a")
            assert until(it.is_stopped, 30)
            stopped = it.text().count("step")
            time.sleep(0.3)  # thirty steps, if it went on
            assert it.text().count("step") == stopped
            it.resume()
        assert until(lambda: it.text().count("step") > stopped, 30)


@needs_proc
def test_a_programs_own_handler_of_ctrl_z_is_left_alone(tmp_path: Path) -> None:
    with shell(tmp_path, STEPS, "own") as it:
        assert until(lambda: "step" in it.text(), 30)
        it.type(b"\x1a")
        assert until(lambda: "own handler" in it.text(), 30)
        assert not it.is_stopped()
