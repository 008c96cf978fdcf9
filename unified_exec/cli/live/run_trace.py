"""`unified-exec trace PID`: record a running program for a while, and write a trace. The encoding is done here."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from ...observe.live.client import CannotLook, Connection, find
from ...observe.output.recorder import Recording, Sample
from ...observe.output.trace_file import perfetto

FAILED = 1
LOOK_SECONDS = 1.0


def run(arguments: argparse.Namespace) -> int:
    """Record and write."""
    try:
        # The file is opened before anything is recorded, in case it cannot be written; but not before the program has
        # answered: a trace that is there stays if it does not.
        with Connection(find(arguments.pid)) as connection, open(arguments.output, "wb") as out:
            recording = record(connection, arguments.seconds)
            out.write(perfetto(recording))
    except (CannotLook, OSError) as error:
        print(f"unified-exec trace: {error}", file=sys.stderr)
        return FAILED
    lost = f", {recording.dropped:,} events were dropped" if recording.dropped else ""
    print(f"{arguments.output}: {len(recording.rows):,} events{lost}; open it at https://ui.perfetto.dev")
    return 0


def record(connection: Connection, seconds: float) -> Recording:
    """Collect the events of a program for `seconds`; ends earlier, with what there is, if the program does."""
    hello = connection.hello
    recording = Recording(
        pid=int(hello["pid"]), argv=[str(each) for each in hello["argv"]], python=str(hello["python"])
    )
    connection.send(type="events")
    until = time.monotonic() + seconds
    next_look = 0.0
    try:
        while (now := time.monotonic()) < until:
            if now >= next_look:
                next_look = now + LOOK_SECONDS
                connection.send(type="tree", stacks="none")
            try:
                _take(recording, connection.receive(min(until, next_look) - now))
            except TimeoutError:
                continue
        connection.send(type="stop")
        while (message := connection.receive())["type"] != "stopped":
            _take(recording, message)
        recording.dropped += int(message.get("dropped", 0))
    except CannotLook:
        pass  # it has ended
    except TimeoutError:
        print("unified-exec trace: the program does not answer any more", file=sys.stderr)
    except KeyboardInterrupt:
        pass  # what there is is written
    recording.ended = time.monotonic()
    return recording


def _take(recording: Recording, message: dict[str, Any]) -> None:
    if message["type"] == "events":
        recording.add([tuple(row) for row in message["rows"]])
    elif message["type"] == "tree":
        tree = message["tree"]
        recording.open_tasks = list(tree["tasks"].values())
        recording.samples.append(Sample(time.monotonic(), tree["pools"], tree.get("memory", 0)))
