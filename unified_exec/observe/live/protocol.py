"""Messages between a program and a viewer: a length of four bytes, then JSON. Nothing in it is ever executed."""

from __future__ import annotations

import json
import os
import sys
from struct import Struct
from typing import Any

VERSION = 1
LENGTH = Struct("!I")
REQUEST_MAX = 64 * 1024
ANSWER_MAX = 32 * 1024 * 1024


class BadMessage(ValueError):
    """The other side sent what is not a message."""


def command_line() -> list[str]:
    """Return the beginning of this program's arguments; a program that embeds Python may have none."""
    first, *rest = [str(each)[:200] for each in (getattr(sys, "argv", None) or ("",))[:20]]
    folder, name = os.path.split(first)
    return [os.path.basename(folder) if name == "__main__.py" and folder else first, *rest] if first or rest else []


def pack(message: dict[str, Any]) -> bytes:
    body = json.dumps(message, separators=(",", ":"), default=str).encode("utf-8", "backslashreplace")
    if len(body) > ANSWER_MAX:
        body = json.dumps({"type": "error", "what": "the answer is too large", "size": len(body)}).encode()
    return LENGTH.pack(len(body)) + body


def take(buffer: bytearray, most: int) -> dict[str, Any] | None:
    """Take one message out of `buffer`; ``None`` if it is not complete.

    Raises:
        BadMessage: it is longer than `most` bytes, or not a JSON object.
    """
    if len(buffer) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack_from(buffer)
    if size > most:
        raise BadMessage(f"a message of {size} bytes")
    if len(buffer) < LENGTH.size + size:
        return None
    body = bytes(buffer[LENGTH.size : LENGTH.size + size])
    del buffer[: LENGTH.size + size]
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise BadMessage("not an object")
    return message
