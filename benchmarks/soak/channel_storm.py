"""Random kills and cancels of those that send into and receive from a shared channel, with a ledger of every item.

A worker forks participants and kills them at random instants; nobody is told of a death, so those that wait find out.
Some participants are held up around each touch of a pipe and each look at the gate: what happens once in a million runs
then happens every second. At the same time coroutines, threads and process tasks that use the channel are cancelled.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from typing import Any, NamedTuple

import anyio

from unified_exec import Channel, ChannelEmpty, ChannelFull, Collect, ProcessPool, TaskScope
from unified_exec._sync.channels import slots

from .channel_users import USERS
from .lock_storm import SlowOs, SlowWords, end_children

PATIENCE = 30.0
"""Seconds without an item after which the channel counts as hung."""
PARTICIPANTS = 6
BATCH = 5
CANCELS = 4
"""Cancels for each kill."""
_USERS_AT_ONCE = 4

Item = tuple[int, int]


class Figures(NamedTuple):
    """What one storm did."""

    kills: int
    cancels: int
    items: int
    lost: int
    receivers: int


def _participate(channel: Any, ledger: int, number: int, sends: bool, rng: random.Random, slow: bool) -> None:
    """Send or receive until killed. The ledger has a line before and after each send, and after each receive."""
    if slow:
        slots.os = SlowOs(rng)  # type: ignore[assignment]
        channel._form.words = SlowWords(channel._form.words, rng)
    count = 0
    while sends:
        count += 1
        os.write(ledger, b"begun %d %d\n" % (number, count))
        channel.send_sync((number, count))
        os.write(ledger, b"sent %d %d\n" % (number, count))
    while True:
        items = channel.receive_many_sync(BATCH) if rng.random() < 0.5 else [channel.receive_sync()]
        os.write(ledger, b"".join(b"got %d %d by %d\n" % (*item, os.getpid()) for item in items))


def storm(channel: Any, path: str, kills: int, seed: int, slow: bool) -> int:
    """Fork participants and kill `kills` of them one by one, and the rest at the end.

    Returns:
        how many of those killed were receivers.

    Raises:
        RuntimeError: nothing was received for `PATIENCE` seconds.
    """
    rng, children, receivers = random.Random(seed), dict[int, bool](), 0
    sys.stderr.flush()
    ledger = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        for kill in range(kills):
            for number in range(kill * PARTICIPANTS, (kill + 1) * PARTICIPANTS - len(children)):
                sends = sum(children.values()) < PARTICIPANTS // 2
                pid = os.fork()
                if not pid:
                    try:
                        _participate(channel, ledger, number, sends, random.Random(seed + number), slow)
                    finally:
                        os._exit(1)
                children[pid] = sends
            _wait_for_more(ledger, f"after {kill} kills, seed {seed}, slow {slow}")
            time.sleep(rng.random() * 0.005)
            pid = rng.choice(list(children))
            receivers += not children.pop(pid)
            os.kill(pid, signal.SIGKILL)
            if rng.random() < 0.5:
                os.waitpid(pid, 0)  # otherwise a zombie, which the others must take for dead
    finally:
        end_children(children)
        os.close(ledger)
    return receivers + sum(not sends for sends in children.values())


async def cancel_users(pool: ProcessPool, channel: Any, path: str, count: int, rng: random.Random) -> None:
    """Start `count` coroutines, threads and process tasks that send or receive, and cancel each at a random instant."""
    live: list[Any] = []
    async with TaskScope(policy=Collect(), processes=pool) as scope:
        for run in range(count):
            place, user = rng.choice(USERS)
            live.append(scope.spawn(user, channel, path, -1 - run, on=place))
            if len(live) == _USERS_AT_ONCE or run == count - 1:
                await anyio.sleep(rng.random() * 0.004)
                await _cancel(live.pop(rng.randrange(len(live))))
        while live:
            await _cancel(live.pop())


async def _cancel(handle: Any) -> None:
    handle.cancel()
    with anyio.fail_after(PATIENCE):
        await handle.wait()
    if not handle.cancelled():
        raise RuntimeError(f"{handle!r} was to be cancelled") from handle.exception()


def _wait_for_more(ledger: int, when: str) -> None:
    began, size = time.monotonic(), os.fstat(ledger).st_size
    while os.fstat(ledger).st_size < size + 200:
        time.sleep(0.0005)
        if time.monotonic() - began > PATIENCE:
            raise RuntimeError(f"hung {when}")


def _check(channel: Any, lines: list[str], receivers: int, what: str) -> tuple[int, int]:
    """See what became of every item; returns how many arrived, and how many are missing.

    Raises:
        AssertionError: an item was doubled, missing or never begun, or was sent by a send that raised; or a slot is
            gone.
    """
    began = time.monotonic()
    while not channel._form.look_for_dead():
        if time.monotonic() - began > PATIENCE:
            raise RuntimeError(f"the audit does not end, {what}")
    noted: dict[str, Counter[Item]] = {kind: Counter() for kind in ("begun", "sent", "got", "refused")}
    for line in dict.fromkeys(lines[:-1]):  # a task that is cancelled in its note of an item notes it again
        kind, number, count, *_ = line.split()
        noted[kind][int(number), int(count)] += 1
    received = noted["got"]
    try:
        while True:
            received[channel.receive_nowait()] += 1
    except ChannelEmpty:
        pass
    missing = set(noted["sent"]).difference(received)
    assert max(received.values(), default=1) == 1, f"doubled, {what}"
    assert not set(received).intersection(noted["refused"]), f"sent by a cancelled send, {what}"
    assert not set(received).difference(noted["begun"]), f"never begun, {what}"
    assert len(missing) <= BATCH * receivers, f"{len(missing)} missing with {receivers} receivers killed, {what}"
    assert channel.lost <= BATCH * receivers, f"{channel.lost} lost with {receivers} receivers killed, {what}"
    _check_slots(channel, what)
    return len(received), len(missing)


def _check_slots(channel: Any, what: str) -> None:
    count = 0
    try:
        while True:
            channel.send_nowait((0, 0))
            count += 1
    except ChannelFull:
        pass
    assert count == channel.capacity, f"{channel.capacity - count} slots are gone, {what}"


async def run(strikes: int, seed: int, per_round: int = 40) -> str:
    """Run storms until `strikes` participants were killed or cancelled; returns the figures.

    Raises:
        AssertionError, RuntimeError: as `storm` and `_check`.
    """
    rng, total, rounds = random.Random(seed), Figures(0, 0, 0, 0, 0), 0
    async with ProcessPool(3) as pool:
        while total.kills + total.cancels < strikes:
            figures = await _round(pool, rng, per_round)
            total = Figures(*map(sum, zip(total, figures, strict=True)))
            rounds += 1
            if rounds % 50 == 0:
                print(f"  {rounds:,} rounds, {total}", flush=True)
    return (
        f"channels: seed {seed}, {rounds:,} rounds, {total.kills:,} kills, {total.cancels:,} cancels, {total.items:,} "
        f"items: doubled 0, never begun 0, sent by a cancelled send 0, slots lost 0, hung 0; {total.lost:,} gone with "
        f"{total.receivers:,} killed receivers, each with at most {BATCH} in its hands"
    )


async def _round(pool: ProcessPool, rng: random.Random, kills: int) -> Figures:
    channel = Channel[Item](rng.choice([1, 2, 5, 50]), name="storm")
    seed, slow = rng.randrange(1 << 30), rng.random() < 0.5
    with tempfile.NamedTemporaryFile("rb") as file:
        async with TaskScope(policy=Collect()) as scope:
            killing = scope.spawn(storm, channel, file.name, kills, seed, slow, on=pool)
            await cancel_users(pool, channel, file.name, kills * CANCELS, rng)
            receivers = await killing
        lines = file.read().decode().split("\n")
    items, missing = _check(channel, lines, receivers, f"seed {seed}, slow {slow}")
    return Figures(kills + PARTICIPANTS - 1, kills * CANCELS, items, missing, receivers)
