"""The parent's side of a model's process: starting it, giving it orders, never waiting forever."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

from ..measuring.rounds import TurnFailed

PATIENCE = 5.0
"""Seconds a process has to exit before it is killed."""


class ModelProcessError(TurnFailed):
    """A model's process reported an error, died or did not answer; the text says which."""


class ModelProcess:
    """A model's process, started with the first order and again after it was killed."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; ``None`` while no process is running."""
        return self._process.pid if self._process is not None else None

    def ask(self, seconds: float, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises:
            ModelProcessError: the process reported an error, died, or did not answer within `seconds`. It has been
                killed.
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
            timer.start()  # inside: Ctrl-C may arrive when the thread runs but `start` has not returned
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
            last = self._last_error_line()
            self.close(kill=True)
            raise ModelProcessError(f"no answer within {seconds:g} s" if late.is_set() else f"its process died: {last}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.close(kill=True)
            raise ModelProcessError(answer["error"])
        return answer

    def _start(self) -> subprocess.Popen[str]:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (see close)
        # No main file, which the workers of some libraries would import, and anyio's not as a part of its package.
        program = f"import sys; from {__package__}.model_host import main; main(sys.argv[1])"
        command = [sys.executable, "-c", program, self.model]
        # A session of its own: Ctrl-C reaches only the parent, and everything the model started can be killed at once.
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

    def _last_error_line(self) -> str:
        lines = []
        if self._errors is not None:
            self._errors.seek(0)
            lines = [line for line in self._errors.read().splitlines() if line.strip()]
        return lines[-1] if lines else "it printed nothing"

    def close(self, kill: bool = False) -> None:
        """Let the process exit and reap it; with `kill`, or after `PATIENCE`, kill it."""
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
    """Kill the process and everything else in its session."""
    if os.name != "posix":
        process.kill()
        return
    # The id cannot have been reused: the process has not been reaped, or its group still has members.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
