"""Coroutines, threads and process tasks that send and receive until they are cancelled, and note each item.

A coroutine or thread is cancelled in its wait alone: what it sent when the send raised must not arrive. The raise in a
process task may come between the return of the send and the note, so there nothing is noted of it.
"""

from __future__ import annotations

import os
from typing import Any

from unified_exec import Cancelled, current_task


def _note(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND)


def send(channel: Any, path: str, run: int) -> None:
    ledger, count = _note(path), 0
    task = current_task()
    assert task is not None
    try:
        while True:
            count += 1
            os.write(ledger, b"begun %d %d\n" % (run, count))
            channel.send_sync((run, count))
            os.write(ledger, b"sent %d %d\n" % (run, count))
    except Cancelled:
        if task.backend == "thread":
            os.write(ledger, b"refused %d %d\n" % (run, count))
        raise
    finally:
        os.close(ledger)


def receive(channel: Any, path: str, run: int) -> None:
    ledger = _note(path)
    item = None
    try:
        while True:
            item = channel.receive_sync()
            os.write(ledger, b"got %d %d by %d\n" % (*item, run))
            item = None
    finally:
        if item is not None:
            os.write(ledger, b"got %d %d by %d\n" % (*item, run))
        os.close(ledger)


async def a_send(channel: Any, path: str, run: int) -> None:
    ledger, count = _note(path), 0
    try:
        while True:
            count += 1
            os.write(ledger, b"begun %d %d\n" % (run, count))
            try:
                await channel.send((run, count))
            except BaseException:
                os.write(ledger, b"refused %d %d\n" % (run, count))
                raise
            os.write(ledger, b"sent %d %d\n" % (run, count))
    finally:
        os.close(ledger)


async def a_receive(channel: Any, path: str, run: int) -> None:
    ledger = _note(path)
    try:
        while True:
            items = [await channel.receive()] if run % 2 else await channel.receive_many(3)
            os.write(ledger, b"".join(b"got %d %d by %d\n" % (*item, run) for item in items))
    finally:
        os.close(ledger)


USERS: list[tuple[Any, Any]] = [
    ("loop", a_send),
    ("loop", a_receive),
    ("thread", send),
    ("thread", receive),
    ("process", send),
    ("process", receive),
]
"""Where each runs, and what."""
