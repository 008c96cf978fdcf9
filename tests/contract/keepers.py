"""What process tasks do with a channel that somebody waits for: nothing, keep it, or send into it later. Loads fast."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.waiting import until
from unified_exec import Channel, SyncTaskScope, from_task


def touch(*_: Any) -> None:
    pass


async def a_touch(*_: Any) -> None:
    pass


kept: list[Any] = []
"""What this process keeps: a worker, or the program."""


def keep(one: Any) -> None:
    kept.append(one)


def keep_in_nested(one: Any) -> None:
    with SyncTaskScope() as scope:
        scope.spawn(keep, one, on="process")


def send(channel: Channel[int]) -> None:
    channel.send_sync(1)


def send_kept() -> None:
    kept.pop().send_sync(1)


def send_nested() -> None:
    with SyncTaskScope() as scope:
        scope.spawn(send_kept, on="process")


def send_to_what_came() -> None:
    kept.pop().receive_sync().send_sync(1)


def wait_for(path: Path) -> None:
    assert until(path.exists)


def send_in_a_fork(channel: Channel[int], path: Path) -> None:
    if not os.fork():
        try:
            wait_for(path)
            channel.send_sync(1)
        finally:
            os._exit(0)


def fork_once(_: Channel[int]) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def take_over() -> None:
    from_task.run_sync(give, os.getpid()).send_sync(1)


def give(pid: int) -> Any:
    os.kill(pid, signal.SIGSTOP)
    return kept.pop()


class Keeper:
    def __init__(self, channel: Channel[int]) -> None:
        self.channel = channel

    def send(self) -> None:
        self.channel.send_sync(1)
