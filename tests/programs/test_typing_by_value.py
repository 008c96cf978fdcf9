"""Law 4: what the typing of a script consists of travels with the functions and classes that it is about."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.programs.script import run_script

TYPED_DICTS = """
from typing import NotRequired, Required, TypedDict
from unified_exec import SyncTaskScope
class First(TypedDict, total=False):
    a: Required[int]
    b: str
class Second(First):
    c: NotRequired[float]
def facts():
    return [(sorted(one.__required_keys__), sorted(one.__optional_keys__), one.__total__) for one in (First, Second)]
with SyncTaskScope() as scope:
    assert scope.spawn(facts, on="process").result() == facts()
print("fine")
"""


def test_a_typed_dict_that_extends_another_travels(tmp_path: Path) -> None:
    assert run_script(tmp_path, TYPED_DICTS) == "fine\n"


NEW_SYNTAX = """
import pickle, typing
from unified_exec import SyncTaskScope, ProcessPool
if typing.TYPE_CHECKING:
    from elsewhere import Only
type Json = dict[str, Json] | None
type Pairs[T] = list[tuple[T, Part]]
type Unknown = list[Only]
type Current = int
class Part: json: Json
class Box[T]:
    def __init__(self, value: T): self.value = value
    def map[U](self, f: typing.Callable[[T], U]) -> "Box[U]": return Box(f(self.value))
def first[T](items: list[T], rest: Pairs[int] = []) -> T: return items[0]
def unknown(x: Unknown) -> Json: return x
def inside():
    pairs = Pairs.__value__.__args__[0].__args__
    inner = Json.__value__.__args__[0].__args__[1]
    return inner is Json, Pairs[int].__origin__ is Pairs, pairs[1] is Part, Json.__module__
def hints():
    known = typing.get_type_hints(Part)["json"] is Json, sorted(typing.get_type_hints(Box.map))
    return known, first.__type_params__[0].__name__
def current(): return Current.__value__
def back(x): return x
def load(data): return pickle.loads(data)
with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
    run = lambda fn, *args: scope.spawn(fn, *args, on="process").result()
    assert run(load, pickle.dumps(Pairs)) is Pairs
    assert (run(first, [3]), run(unknown, 4), run(Box(1).map, str).value) == (3, 4, "1")
    assert run(inside) == inside() == (True, True, True, "__main__"), run(inside)
    assert run(hints) == hints()
    assert run(back, Json) is Json and run(back, [Unknown])[0] is Unknown
    assert run(current) is int
    type Current = str
    assert run(current) is str
print("fine")
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is of Python 3.12")
def test_type_aliases_and_type_parameters_travel(tmp_path: Path) -> None:
    assert run_script(tmp_path, NEW_SYNTAX) == "fine\n"
