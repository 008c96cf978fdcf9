"""What a code object reads and writes outside itself, nested code included."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from opcode import EXTENDED_ARG, opmap
from typing import NamedTuple
from weakref import ref as weak


def _codes(*names: str) -> frozenset[int]:
    return frozenset(opmap[name] for name in names if name in opmap)


_READS = _codes("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_WRITES = _codes("STORE_GLOBAL", "DELETE_GLOBAL")
_CELL_WRITES = _codes("STORE_DEREF", "DELETE_DEREF")
_EVERY = _READS | _WRITES | _CELL_WRITES
_LOAD_GLOBAL = opmap["LOAD_GLOBAL"]  # its lowest bit says something else
_LOOK_UP = frozenset({"globals", "eval", "exec", "vars", "getattr", "__import__"})
_FUTURE_ANNOTATIONS = 0x1000000  # the flag of a file with ``from __future__ import annotations``
_WORD = re.compile(r"[^\W\d]\w*")
_TEXT_MAX = 500


class CodeFacts(NamedTuple):
    """What a code object reads and writes.

    Attributes:
        names: globals it may read or rebind.
        writes: it rebinds a global or a captured variable.
        cell_writes: it rebinds a captured variable.
        words: words in its string annotations, and in what it hands to functions that look names up.
    """

    names: tuple[str, ...]
    writes: bool
    cell_writes: bool
    words: frozenset[str]


# By id: code objects compare by value, which is slow, and equal code has equal facts anyway.
_known: dict[int, tuple[weak[types.CodeType], CodeFacts]] = {}


def facts_of(code: types.CodeType) -> CodeFacts:
    """Return the facts about `code`, worked out once for as long as it lives."""
    key = id(code)
    known = _known.get(key)
    if known is not None and known[0]() is code:
        return known[1]
    names: dict[str, None] = {}
    globals_written, cells_written = _walk(code, names, frozenset(code.co_freevars))
    words = frozenset(_words(code, names))
    facts = CodeFacts(tuple(names), globals_written or cells_written, cells_written, words)
    _known[key] = (weak(code, lambda _: _known.pop(key, None)), facts)
    return facts


def _walk(code: types.CodeType, names: dict[str, None], captured: frozenset[str]) -> tuple[bool, bool]:
    globals_written = cells_written = False
    steps = code.co_code
    if not _EVERY.isdisjoint(steps[::2]):
        # Not by `dis.get_instructions`, which takes most of the time of a first call.
        argument = 0
        for step, low in zip(steps[::2], steps[1::2], strict=True):
            argument = argument << 8 | low
            if step == EXTENDED_ARG:
                continue
            if step in _EVERY:
                if step in _CELL_WRITES:
                    cells_written = cells_written or code._varname_from_oparg(argument) in captured  # type: ignore[attr-defined]
                else:
                    names[code.co_names[argument >> 1 if step == _LOAD_GLOBAL else argument]] = None
                    globals_written = globals_written or step in _WRITES
            argument = 0
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _walk(constant, names, captured & frozenset(constant.co_freevars))
            globals_written, cells_written = globals_written or inner[0], cells_written or inner[1]
    return globals_written, cells_written


def words_in(text: str) -> list[str]:
    """Return what may be names in a string annotation or an expression."""
    return _WORD.findall(text)


def _words(code: types.CodeType, names: dict[str, None]) -> Iterator[str]:
    """Names that are looked up by their text: in string annotations, by `eval`, as attributes of a module."""
    looks_up = not _LOOK_UP.isdisjoint(names)
    queue = [code]
    while queue:
        code = queue.pop()
        has_texts = looks_up or code.co_flags & _FUTURE_ANNOTATIONS
        constants = list(code.co_consts)
        while constants:
            constant = constants.pop()
            if isinstance(constant, types.CodeType):
                queue.append(constant)
            elif isinstance(constant, tuple):
                constants += constant
            elif has_texts and isinstance(constant, str) and len(constant) < _TEXT_MAX:
                yield from words_in(constant)
        if looks_up or "__main__" in code.co_names or "import_module" in code.co_names:
            yield from code.co_names
