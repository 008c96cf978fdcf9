"""Where code is: the frames of waiting coroutines and of threads, as plain lines. Light: workers import it."""

from __future__ import annotations

import gc
from types import AsyncGeneratorType, CoroutineType, GeneratorType

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

FRAMES_MAX = 64

Line = tuple[str, int, str]
"""File, line, and qualified name of the function."""


def line_of(frame: FrameType) -> Line:
    return frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_qualname


def thread_frames(frame: FrameType | None) -> list[FrameType]:
    """The frames of a thread from its current one outwards; innermost first."""
    found: list[FrameType] = []
    while frame is not None and len(found) < FRAMES_MAX:
        found.append(frame)
        frame = frame.f_back
    return found


def coroutine_parts(coroutine: Any) -> Iterator[tuple[Any, FrameType | None]]:
    """The coroutines and generators that a coroutine which waits consists of, outermost first, with their frames."""
    at = coroutine  # asked for its type only: a proxy would run code
    for _ in range(FRAMES_MAX):
        frame: FrameType | None = None
        if type(at) is CoroutineType:
            frame, following = at.cr_frame, at.cr_await
        elif type(at) is GeneratorType:
            frame, following = at.gi_frame, at.gi_yieldfrom
        elif type(at) is AsyncGeneratorType:
            frame, following = at.ag_frame, at.ag_await
        elif type(at).__name__ in ("coroutine_wrapper", "async_generator_asend", "async_generator_athrow"):
            # These have no attribute that leads on; what they refer to is the generator or coroutine.
            inner = [each for each in gc.get_referents(at) if type(each) in (CoroutineType, AsyncGeneratorType)]
            following = inner[0] if inner else None
        else:
            following = None
        yield at, frame
        if following is None:
            return
        at = following


def coroutine_frames(coroutine: Any) -> tuple[list[FrameType], Any]:
    """The frames of a coroutine that waits, innermost first, and what it awaits at the end, if that is known.

    An awaitable that is written in C ends the chain.
    """
    parts = list(coroutine_parts(coroutine))
    end = parts[-1][0]
    frames = [frame for _, frame in reversed(parts) if frame is not None]
    return frames, None if isinstance(end, (CoroutineType, GeneratorType, AsyncGeneratorType)) else end
