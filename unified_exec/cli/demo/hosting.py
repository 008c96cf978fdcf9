"""Starting and stopping the web server's process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from . import server

PATIENCE = 5.0  # seconds the server has to end by itself


class Site(NamedTuple):
    """A web server that is up: its address, e.g. ``http://127.0.0.1:40123``, and its process id."""

    url: str
    pid: int


@contextmanager
def serving(root: Path) -> Iterator[Site]:
    """Serve the Python files below `root` from another process for as long as the block lasts.

    Raises:
        RuntimeError: the server did not start; what it printed is on stderr.
    """
    command = [sys.executable, "-I", "-S", server.__file__, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline().strip()
            if not line:
                raise RuntimeError(f"the demonstration's web server did not start: {' '.join(command)}")
            yield Site(f"http://127.0.0.1:{int(line)}", process.pid)
        finally:
            process.stdin.close()  # the end of its stdin is the end of the server
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            except BaseException:  # a second Ctrl-C must leave no process behind either
                process.kill()
                raise
