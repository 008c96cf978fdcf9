"""Runs scripts in forks of one interpreter that has imported what nearly all of them import.

That takes longer than most examples. An import has no effects (tests/scope/test_imports.py), so a fork after it shows
an example nothing that a new interpreter would not.
"""

from __future__ import annotations

import importlib.machinery
import os
import signal
import sys

import anyio._backends._asyncio
import anyio._backends._trio
import trio

from unified_exec import ProcessPool, SyncTaskScope, TaskScope, ThreadPool

LIMIT = 60
IMPORTED = (anyio, trio, ProcessPool, SyncTaskScope, TaskScope, ThreadPool)


def next_script() -> str | None:
    """For each line of stdin, a script and the files for its output, fork and write its exit status to stdout.

    Returns:
        In each fork the script, and `None` in this process at the end.
    """
    while line := sys.stdin.readline():
        script, out, err = line.rstrip("\n").split("\t")
        child = os.fork()
        if not child:
            signal.alarm(LIMIT)
            for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
                file = os.open(path, flags)
                os.dup2(file, number)
                os.close(file)
            return script
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def run_as_main(script: str) -> None:
    """Execute a script in the module `__main__`, as `python SCRIPT` in the script's folder would."""
    with open(script, "rb") as file:
        code = compile(file.read(), script, "exec")
    os.chdir(os.path.dirname(script))
    sys.argv, sys.path[0] = [script], os.path.dirname(script)
    main = vars(sys.modules["__main__"])
    loader = importlib.machinery.SourceFileLoader("__main__", script)
    fresh = {"__name__": "__main__", "__file__": script, "__builtins__": main["__builtins__"], "__loader__": loader}
    main.clear()
    main.update({**fresh, "__doc__": None, "__package__": None, "__spec__": None, "__cached__": None})
    exec(code, main)


if __name__ == "__main__" and (script := next_script()) is not None:
    run_as_main(script)
