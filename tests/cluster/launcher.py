"""Starts the processes of a cluster outside of the tests' process tree, which the tests watch for leaks.

Reads commands from its stdin, one list of words in JSON for each line, and writes the process id of each. When its
stdin is closed, as also by the end of the tests, it ends all that it has started, and exits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time


def main() -> None:
    if os.fork():
        os._exit(0)  # nobody's child from now on
    os.setsid()
    log = open(sys.argv[1], "ab")
    started: list[subprocess.Popen[bytes]] = []
    for line in sys.stdin:
        started.append(
            subprocess.Popen(json.loads(line), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        )
        print(started[-1].pid, flush=True)
    for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        for process in started:
            for group_sign in (signal.SIGCONT, sign):
                try:
                    os.killpg(process.pid, group_sign)
                except ProcessLookupError:
                    pass
        end = time.monotonic() + patience
        for process in started:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass


if __name__ == "__main__":
    main()
