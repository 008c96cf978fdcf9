"""`unified-exec top PID`: a running program in the terminal, live; with ``--json`` one snapshot."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from ...observe.live.client import CannotLook
from ...observe.viewer.board import Board
from ...observe.viewer.feed import Feed
from ...observe.viewer.summary import summary

FAILED = 1
SNAPSHOT_SECONDS = 1.0
PATIENCE = 30.0


def run(arguments: argparse.Namespace) -> int:
    """Show the program until `q` is pressed, or print what it did for a second."""
    feed = Feed(arguments.pid, Board())
    try:
        feed.start()
    except CannotLook as error:
        print(f"unified-exec top: {error}", file=sys.stderr)
        return FAILED
    try:
        if arguments.json:
            print(json.dumps(snapshot(feed), indent=2))
        elif not _can_draw():
            print(
                "unified-exec top: it needs a terminal to draw on; --json prints a snapshot, and "
                "`unified-exec tree PID --watch` prints plain text",
                file=sys.stderr,
            )
            return FAILED
        else:
            from ...observe.viewer.top import Top

            Top(feed).run()
    finally:
        feed.stop()
    return 0


def _can_draw() -> bool:
    """Whether textual can draw: it reads the standard input and writes to standard error."""
    files = sys.__stdin__, sys.__stderr__
    return os.environ.get("TERM") != "dumb" and all(file is not None and file.isatty() for file in files)


def snapshot(feed: Feed) -> dict[str, Any]:
    """Follow the program until its tree and the figures of a second are there, and describe it."""
    board, began = feed.board, time.monotonic()
    while not board.ended and time.monotonic() - began < PATIENCE:
        with board.lock:
            if board.tree and board.gauges and board.rates and time.monotonic() - began >= SNAPSHOT_SECONDS:
                break
        time.sleep(0.02)
    with board.lock:
        return {**summary(board), "tree": board.tree}
