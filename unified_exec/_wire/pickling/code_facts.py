"""What a code object reads and writes outside itself, nested code included."""

from __future__ import annotations

import dis
import types
from typing import NamedTuple
from weakref import ref as weak

__all__ = ["CodeFacts", "facts_of"]

_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_CELL_WRITES = frozenset({"STORE_DEREF", "DELETE_DEREF"})


class CodeFacts(NamedTuple):
    """`names`: globals it may read; `writes`: whether it rebinds a global or a captured variable."""

    names: tuple[str, ...]
    writes: bool


# By id: code objects compare by value, which is slow, and equal code has equal facts anyway.
_known: dict[int, tuple[weak[types.CodeType], CodeFacts]] = {}


def facts_of(code: types.CodeType) -> CodeFacts:
    """Return the facts about `code`, worked out once for as long as it lives."""
    key = id(code)
    known = _known.get(key)
    if known is not None and known[0]() is code:
        return known[1]
    names: dict[str, None] = {}
    writes = _walk(code, names, frozenset(code.co_freevars))
    facts = CodeFacts(tuple(names), writes)
    _known[key] = (weak(code, lambda _: _known.pop(key, None)), facts)
    return facts


def _walk(code: types.CodeType, names: dict[str, None], captured: frozenset[str]) -> bool:
    writes = False
    for step in dis.get_instructions(code):
        if step.opname in _READS:
            names[step.argval] = None
        elif step.opname in _WRITES:
            names[step.argval] = None
            writes = True
        elif step.opname in _CELL_WRITES and step.argval in captured:
            writes = True
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            writes |= _walk(constant, names, captured & frozenset(constant.co_freevars))
    return writes
