"""Random kills of processes that send into and receive from a shared channel, with a ledger of every item.

A worker forks participants and kills them at random instants; nobody is told of a death, so those that wait find out.
Some participants are held up around each touch of a pipe and each look at the gate: what happens once in a million runs
then happens every second.
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

from unified_exec import Channel, ChannelEmpty, ChannelFull, Collect, ProcessPool, TaskScope
from unified_exec._sync.channels import slots

from .lock_storm import SlowOs, SlowWords, end_children

PATIENCE = 30.0
"""Seconds without an item after which the channel counts as hung."""
PARTICIPANTS = 6
BATCH = 5

Item = tuple[int, int]


class Figures(NamedTuple):
    """What one storm did."""

    kills: int
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
        os.write(ledger, b"".join(b"got %d %d\n" % item for item in items))


def storm(channel: Any, kills: int, seed: int, slow: bool) -> Figures:
    """Fork participants, kill `kills` of them one by one, and check what became of every item.

    Raises:
        AssertionError: an item was doubled, missing or never begun, or a slot is gone.
        RuntimeError: nothing was received for `PATIENCE` seconds.
    """
    rng, children, receivers = random.Random(seed), dict[int, bool](), 0
    sys.stderr.flush()
    with tempfile.TemporaryFile("a+b", buffering=0) as file:
        ledger = file.fileno()
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
        receivers += sum(not sends for sends in children.values())
        file.seek(0)
        lines = file.read().decode().split("\n")
    return _check(channel, lines, kills + len(children), receivers, f"seed {seed}, slow {slow}")


def _wait_for_more(ledger: int, when: str) -> None:
    began, size = time.monotonic(), os.fstat(ledger).st_size
    while os.fstat(ledger).st_size < size + 200:
        time.sleep(0.0005)
        if time.monotonic() - began > PATIENCE:
            raise RuntimeError(f"hung {when}")


def _check(channel: Any, lines: list[str], kills: int, receivers: int, what: str) -> Figures:
    began = time.monotonic()
    while not channel._form.look_for_dead():
        if time.monotonic() - began > PATIENCE:
            raise RuntimeError(f"the audit does not end, {what}")
    noted: dict[str, Counter[Item]] = {"begun": Counter(), "sent": Counter(), "got": Counter()}
    for line in lines[:-1]:
        kind, number, count = line.split()
        noted[kind][int(number), int(count)] += 1
    received = noted["got"]
    try:
        while True:
            received[channel.receive_nowait()] += 1
    except ChannelEmpty:
        pass
    missing = set(noted["sent"]).difference(received)
    assert max(received.values()) == 1, f"doubled, {what}"
    assert not set(received).difference(noted["begun"]), f"never begun, {what}"
    assert len(missing) <= BATCH * receivers, f"{len(missing)} missing with {receivers} receivers killed, {what}"
    assert channel.lost <= BATCH * receivers, f"{channel.lost} lost with {receivers} receivers killed, {what}"
    _check_slots(channel, what)
    return Figures(kills, len(received), len(missing), receivers)


def _check_slots(channel: Any, what: str) -> None:
    count = 0
    try:
        while True:
            channel.send_nowait((0, 0))
            count += 1
    except ChannelFull:
        pass
    assert count == channel.capacity, f"{channel.capacity - count} slots are gone, {what}"


async def run(kills: int, seed: int, per_round: int = 40) -> str:
    """Run storms until `kills` participants were killed; returns the figures.

    Raises:
        AssertionError, RuntimeError: as `storm`.
    """
    rng, total, rounds = random.Random(seed), Figures(0, 0, 0, 0), 0
    async with ProcessPool(1) as pool:
        while total.kills < kills:
            channel = Channel[Item](rng.choice([1, 2, 5, 50]), name="storm")
            async with TaskScope(policy=Collect()) as scope:
                number = min(per_round, kills - total.kills)
                args = channel, number, rng.randrange(1 << 30), rng.random() < 0.5
                figures = await scope.spawn(storm, *args, on=pool)
            total = Figures(*map(sum, zip(total, figures, strict=True)))
            rounds += 1
    return (
        f"channels: seed {seed}, {rounds:,} rounds, {total.kills:,} kills, {total.items:,} items: doubled 0, "
        f"never begun 0, slots lost 0, hung 0; {total.lost:,} gone with {total.receivers:,} killed receivers, "
        f"each with at most {BATCH} in its hands"
    )
