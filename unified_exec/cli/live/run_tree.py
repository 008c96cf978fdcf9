"""`unified-exec tree PID`: every scope and task of a running program, and why each waits."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from ...observe.live.client import CannotLook, Connection, find
from ...observe.live.inject import find_or_inject
from ...observe.live.text import render

FAILED = 1


def run(arguments: argparse.Namespace) -> int:
    """Print the tree, once or again and again."""
    terminal = sys.stdout.isatty()
    colours = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    stacks = "all" if arguments.all else "mine" if arguments.stacks or arguments.json else "none"
    try:
        program = find_or_inject(arguments.pid, _tell) if arguments.inject else find(arguments.pid)
        with Connection(program) as connection:
            while True:
                tree = connection.tree(stacks)
                if arguments.json:
                    print(json.dumps(tree, indent=None if arguments.watch else 2), flush=True)
                else:
                    shown = arguments.stacks or arguments.all
                    text = render(tree, stacks=shown, colours=colours, ascii_only=ascii_only, why=arguments.why)
                    print(("\x1b[H\x1b[2J" if terminal and arguments.watch else "") + text, flush=True)
                if not arguments.watch:
                    return 0
                time.sleep(arguments.watch)
    except CannotLook as error:
        print(f"unified-exec tree: {error}", file=sys.stderr)
        return FAILED


def _tell(text: str) -> None:
    print(f"unified-exec tree: {text}", file=sys.stderr, flush=True)
