"""What functions that travel by value consist of: code, captured variables, modules they name, and their state.

Light: a worker that receives nothing else by value does not import cloudpickle.
"""

from __future__ import annotations

import builtins
import marshal
from sys import modules
from types import CellType, CodeType, FunctionType

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    Reduced = tuple[Any, ...]

WITHOUT_REFERENCES = 2
"""The last version of the format in which equal code gives equal bytes. Digests of pickles need that."""


def reduce_code(code: CodeType) -> Reduced:
    """Reduce a code object: parent and worker are the same version of Python."""
    try:
        return marshal.loads, (marshal.dumps(code, WITHOUT_REFERENCES),)
    except ValueError:  # it has a constant that this version of the format does not know, as slices from 3.14 on
        import cloudpickle

        # cloudpickle leaves out the name of the file from 3.1.3 on: tracebacks show the line in it.
        return _code_of_file, (code.co_filename, *cloudpickle.Pickler.dispatch_table[CodeType](code))


def _code_of_file(name: str, make: Callable[..., CodeType], args: tuple[Any, ...]) -> CodeType:
    return make(*args).replace(co_filename=name)


def reduce_cell(cell: CellType) -> Reduced:
    """Reduce what holds a captured variable, which may have no value."""
    try:
        return _new_cell, (cell.cell_contents,)
    except ValueError:
        return _new_cell, ()


def _new_cell(*contents: object) -> CellType:
    return CellType(*contents)


def imported(name: str) -> ModuleType:
    """Import a module; also one in a package."""
    __import__(name)
    return modules[name]


def make_function(code: CodeType, globals_: dict[str, Any], closure: Any) -> FunctionType:
    """Make a function with globals of its own, or with those of another from its module in the same pickle."""
    globals_["__builtins__"] = vars(builtins)
    return FunctionType(code, globals_, None, None, closure)


def set_state(function: FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Set what a function has besides its code: attributes, captured variables, defaults, names, annotations.

    And globals, if it has some of its own.
    """
    attributes, slots = state
    function.__dict__.update(attributes)
    function.__globals__.update(slots.pop("__globals__", ()))
    for mine, sent in zip(function.__closure__ or (), slots.pop("__closure__") or (), strict=True):
        try:
            mine.cell_contents = sent.cell_contents
        except ValueError:
            pass  # it has no value yet
    del slots["submodules"]  # imported by being unpickled
    for name, value in slots.items():
        setattr(function, name, value)
