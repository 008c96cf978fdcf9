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


PARAMETER_FIRST = """
from unified_exec import SyncTaskScope
def make():
    type Tree[T: int] = T | list[Tree[T]]
    return Tree
def bounds(sent):
    parameter, alias = sent
    return parameter.__bound__, alias.__type_params__[0].__bound__
with SyncTaskScope() as scope:
    tree = make()
    assert scope.spawn(bounds, (tree.__type_params__[0], tree), on="process").result() == (int, int)
print("fine")
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is of Python 3.12")
def test_a_type_parameter_that_is_sent_before_its_alias_is_evaluated_in_both(tmp_path: Path) -> None:
    assert run_script(tmp_path, PARAMETER_FIRST) == "fine\n"


OF_NEW_SYNTAX = """
import typing
from unified_exec import SyncTaskScope, ProcessPool
if typing.TYPE_CHECKING:
    from elsewhere import Only
class Node[T: Node]: pass
class Named[T: Named[int] = Named[str], U: (int, str) = str, **P = [int]]:
    def method[V = list[T]](self, v: V) -> V: return v
class Many[*Ts = *tuple[int, Node]]: pass
class Unknown[T: Only]: pass
def function[T = int](x: T) -> T: return x
type Alias[T = int] = list[T]
def facts():
    parameters = [p for o in (Node, Named, Many, Named.method, function, Alias) for p in o.__type_params__]
    about = [(repr(p), p.__default__, p.__module__, vars(typing).get(p.__name__) is p) for p in parameters]
    bounds = [(p.__bound__, p.__constraints__, p.__infer_variance__) for p in parameters if type(p) is typing.TypeVar]
    own = Named.method.__type_params__[0].__default__.__args__[0] is Named.__type_params__[0]
    return repr((about, bounds, own, Named[int, str, [int]]))
def inside():
    try:
        Unknown.__type_params__[0].__bound__
    except NameError as error:
        return error.name, facts()
def back(x): return x
with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
    run = lambda fn, *args: scope.spawn(fn, *args, on="process").result()
    assert run(inside) == inside() == ("Only", facts()), run(inside)
    for mine in (Node.__type_params__[0], Many, function, Named[int, str, [int]]):
        assert run(back, mine) == mine
    def local():
        class Inner[T: Inner]: pass
        return Inner
    Inner = local()
    assert run(lambda: Inner.__type_params__[0].__bound__ is Inner) and run(back, Inner) is Inner
print("fine")
"""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="defaults of type parameters are of Python 3.13")
def test_type_parameters_keep_their_bound_variance_and_default(tmp_path: Path) -> None:
    assert run_script(tmp_path, OF_NEW_SYNTAX) == "fine\n"


IN_CIRCLES = """
import __main__, sys, typing
from unified_exec import SyncTaskScope, ProcessPool
if typing.TYPE_CHECKING:
    from elsewhere import Only
class A[T: B]: pass
class B[T: A]: pass
class Base[T: Middle]: pass
class Middle[T: Last](Base[T]): pass
class Last[T: (list[Base], Middle[int])](Middle[T]): pass
def f[T: g](): pass
def g[T: f](): pass
type Tree[T] = T | list[Tree[T]]
type X = list[Y]
type Y = dict[str, X | Part]
class Part: x: X
type Left[T: Right] = list[Right[T]]
type Right[T: Left, *Ts, **P] = list[Left[T]]
type Unknown[T] = Only | T
names = ["A", "B", "Base", "Middle", "Last", "f", "g", "Tree", "X", "Y", "Left", "Right"]
if sys.version_info >= (3, 13):
    exec("class One[T = Other]: pass\\nclass Other[T = One]: pass\\ntype Default[T = Default] = list[T]")
    names += ["One", "Other", "Default"]
def reached(wanted):
    # what is found through each of these, and whether the way leads back to itself
    found = []
    for name in wanted:
        start = getattr(__main__, name)
        queue, seen = [start], [start]
        while queue:
            one = queue.pop()
            parts = []
            for name in ("type_params", "args", "origin", "bound", "constraints", "value", "default"):
                part = getattr(one, f"__{name}__", ())
                parts += part if type(part) is tuple else (part,)
            new = [part for part in parts if not any(part is other for other in seen)]
            seen += new
            queue += new
        found.append(sorted(getattr(one, "__qualname__", repr(one)) for one in seen))
    return found
def unknown():
    return repr(Unknown[int]), Unknown.__type_params__[0].__name__
def back(x): return x
for order in (names, names[::-1]):
    with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
        run = lambda fn, *args: scope.spawn(fn, *args, on="process").result()
        assert run(reached, order) == reached(order), run(reached, order)
        assert run(unknown) == unknown()
        own = [globals()[name] for name in order]
        assert all(map(lambda mine, one: mine is one, own, run(back, own)))
        def local():
            class Inner[T: Outer]: pass
            class Outer[T: Inner]: pass
            type Own[T] = T | list[Own[T]]
            return Inner, Outer, Own
        Inner, Outer, Own = local()
        assert run(lambda: Inner.__type_params__[0].__bound__ is Outer) and run(back, Outer) is Outer
        for _ in range(2):
            own = run(lambda a: (repr(a.__value__), a.__value__.__args__[0] is a.__type_params__[0]), Own)
            assert own == (repr(Own.__value__), True), own
print("fine")
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters and the type statement are of Python 3.12")
def test_classes_functions_and_aliases_whose_type_parameters_lead_to_one_another_travel(tmp_path: Path) -> None:
    assert run_script(tmp_path, IN_CIRCLES) == "fine\n"


TYPE_VARIABLES = """
import typing
import typing_extensions as more
from unified_exec import SyncTaskScope, ProcessPool
T = more.TypeVar("T", default=int, covariant=True)
U = more.TypeVar("U", infer_variance=True)
P = more.ParamSpec("P", default=[int])
V = typing.TypeVar("V", bound="Of")
Id = typing.NewType("Id", int)
class Of(typing.Generic[T]): pass
def facts():
    own = [(repr(p), p.__default__, p.__infer_variance__, p.__module__) for p in (T, U, P)]
    return own, repr(V.__bound__), Of.__parameters__[0] is T
def current(): return V.__bound__, Id.__supertype__
def back(x): return x
with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
    run = lambda fn, *args: scope.spawn(fn, *args, on="process").result()
    assert repr(run(facts)) == repr(facts()), run(facts)
    assert all(run(back, one) is one for one in (T, U, P, V, Of, Id))
    V, Id = typing.TypeVar("V", bound=str), typing.NewType("Id", str)
    assert run(current) == (str, str)
print("fine")
"""


def test_type_variables_of_a_script_are_whole_and_current(tmp_path: Path) -> None:
    assert run_script(tmp_path, TYPE_VARIABLES) == "fine\n"
