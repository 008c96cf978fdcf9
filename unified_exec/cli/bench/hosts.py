"""Starting hosts and servers, asking them, and never waiting for ever."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from . import server
from .workloads.network import LATENCY

SMTP_LATENCY = 0.005
PATIENCE = 5.0  # seconds a process has to end by itself


class HostError(Exception):
    """A host failed, died or did not answer: why."""


class Host:
    """A model's process, started when it is first asked something and again after it was given up."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None

    def ask(self, seconds: float, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises:
            HostError: it told of an error, died, or did not answer within `seconds`; its process is gone then.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        try:
            timer.start()  # in here: Ctrl-C may come when the thread runs and `start` has not returned
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
            if timer.is_alive():
                timer.join()
        if not line:
            tail = self._last_words()
            self.close(kill=True)
            raise HostError(f"no answer within {seconds:g} s" if late.is_set() else f"its process died: {tail}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.close(kill=True)
            raise HostError(answer["error"])
        return answer

    def _start(self) -> subprocess.Popen[str]:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (see close)
        command = [sys.executable, "-m", f"{__package__}.host", self.model]
        # A session of its own: Ctrl-C is the suite's to take, and all that the model started can be killed at once.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        return self._process

    def _last_words(self) -> str:
        if self._errors is None:
            return "no word"
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        return lines[-1] if lines else "no word"

    def close(self, kill: bool = False) -> None:
        """End the process: politely, unless `kill`."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if not kill:
                assert process.stdin is not None
                with contextlib.suppress(OSError):
                    process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
        finally:
            _kill(process)
            process.wait()
            for pipe in (process.stdin, process.stdout, self._errors):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill the process and what else is in its session."""
    if os.name != "posix":
        process.kill()
        return
    # Its number is not given to another while it has not been waited for, nor while its group has members.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


class Ports(NamedTuple):
    """Where the servers listen on loopback."""

    http: int
    smtp: int


@contextlib.contextmanager
def serving(http_seconds: float = LATENCY, smtp_seconds: float = SMTP_LATENCY) -> Iterator[Ports]:
    """Run the HTTP and the mail server in another process for as long as the block lasts.

    Raises:
        RuntimeError: they did not start; what was printed is on stderr.
    """
    command = [sys.executable, "-I", server.__file__, str(http_seconds), str(smtp_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ports = process.stdout.readline().split()
            if len(ports) != 2:
                raise RuntimeError(f"the servers did not start: {' '.join(command)}")
            yield Ports(*map(int, ports))
        finally:
            process.stdin.close()
            try:
                process.wait(PATIENCE)
            except BaseException:
                process.kill()
                raise
