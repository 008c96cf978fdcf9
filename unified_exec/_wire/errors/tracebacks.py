"""Tracebacks as plain tuples, and real traceback objects from those.

The frame of a generator that never started has no locals and no caller, so a rebuilt traceback keeps nothing
alive and is part of no cycle; ``co_linetable`` (Objects/locations.md in CPython) places the carets.
"""

from __future__ import annotations

from types import FunctionType, TracebackType

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import CodeType

Frame = tuple[str, str, str, int, int | None, int | None, int | None]
"""File, function, module, line, last line, first column, last column."""

_MAX_FRAMES = 200
_OWN_MODULES = ("unified_exec._worker", "unified_exec._wire")


def frames_of(traceback: TracebackType | None, skip: int = 0) -> tuple[Frame, ...]:
    """Return the frames, outermost first, without the first `skip` and without this package's own at the outer end.

    The middle of a very deep traceback is left out.
    """
    steps: list[TracebackType] = []
    while traceback is not None:
        steps.append(traceback)
        traceback = traceback.tb_next
    del steps[:skip]
    outer = 0
    while outer < len(steps) and _module_of(steps[outer]).startswith(_OWN_MODULES):
        outer += 1
    del steps[:outer]
    if len(steps) <= _MAX_FRAMES:
        return tuple([_frame(step) for step in steps])
    half = _MAX_FRAMES // 2
    gap: Frame = ("<...>", f"<{len(steps) - 2 * half} frames left out>", "", 0, None, None, None)
    return (*[_frame(step) for step in steps[:half]], gap, *[_frame(step) for step in steps[-half:]])


def traceback_of(frames: tuple[Frame, ...]) -> TracebackType | None:
    """Build a traceback that shows `frames`."""
    traceback: TracebackType | None = None
    for filename, name, module, line, last_line, column, last_column in reversed(frames):
        code = _template.__code__.replace(co_filename=filename, co_name=name, co_qualname=name, co_firstlineno=line)
        instruction = -1
        if last_line is not None and column is not None and last_column is not None and last_line >= line:
            code = code.replace(co_linetable=_location(last_line - line, column, last_column))
            instruction = 0
        suspended = FunctionType(code, {"__name__": module, "__file__": filename})()
        traceback = TracebackType(traceback, suspended.gi_frame, instruction, line)
    return traceback


def formatted(frames: tuple[Frame, ...], type_name: str, message: str) -> str:
    """Return the text Python would print for an exception with these frames."""
    import traceback

    lines = traceback.format_tb(traceback_of(frames)) if frames else []
    head = ["Traceback (most recent call last):\n"] if lines else []
    return "".join([*head, *lines, f"{type_name}: {message}\n" if message else f"{type_name}\n"])


def _template() -> Generator[None, None, None]:
    yield


def _module_of(step: TracebackType) -> str:
    name = step.tb_frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""


def _frame(step: TracebackType) -> Frame:
    code = step.tb_frame.f_code
    line = step.tb_lineno
    place = _place(code, step.tb_lasti)
    if place[0] != line:  # a frame that was rebuilt from another process, or a moved line
        place = (line, None, None, None)
    return (code.co_filename, code.co_name, _module_of(step), line or 0, *place[1:])


def _place(code: CodeType, instruction: int) -> tuple[int | None, int | None, int | None, int | None]:
    if instruction >= 0:
        for index, place in enumerate(code.co_positions()):
            if index == instruction // 2:
                return place
    return None, None, None, None


def _location(lines: int, column: int, last_column: int) -> bytes:
    """One long entry of the location table, covering the first eight code units."""
    return bytes([0x80 | 14 << 3 | 7, 0, *_varint(lines), *_varint(column + 1), *_varint(last_column + 1)])


def _varint(number: int) -> list[int]:
    septets = []
    while number > 63:
        septets.append(64 | number & 63)
        number >>= 6
    septets.append(number)
    return septets
