"""One home for what travels by value: when a global travels, what stays, and what counts as changed."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import pickle
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from tests.this_python import needs_usual_references
from tests.unit.wire_child import Child
from unified_exec import errors
from unified_exec._wire.pickling import entry_values, globals_sent, homes, sent_home
from unified_exec._wire.pickling.functions import encode_call, entry_for


class Program:
    """A namespace that is typed in, as in a notebook: each cell is executed in the same globals."""

    def __init__(self, child: Child, text: str = "") -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.child = child
        self.cell(text)

    def cell(self, text: str) -> None:
        exec(text, self.names)

    def run(self, name: str, *args: Any) -> Any:
        return self.child.run(self.names[name], *args)

    def needed(self, name: str) -> dict[str, int]:
        """The numbers of the values that a call of this function needs."""
        return {entry.name: entry.id for entry in entry_for(self.names[name]).needs}


@pytest.fixture
def alone() -> Iterator[Child]:
    with Child() as child:
        yield child


FROZEN = "import numpy\nv = numpy.ones(3); v.flags.writeable = False"
ROWS: list[tuple[str, str, str, bool]] = [
    ("equal int", "v = 10**6", "v = 10**5 * 10", False),
    ("other int", "v = 1", "v = 2", True),
    ("True for 1", "v = 1", "v = True", True),
    ("equal text", "v = 'ab'", "v = ''.join(['a', 'b'])", False),
    ("tuple of atoms", "v = (1, ('a',))", "v = (1, ('b',))", True),
    ("equal tuple", "v = (1, 'a')", "v = tuple([1, 'a'])", False),
    ("same pickle of a list", "v = [1, 2]", "v = [1, 2]", False),
    ("list appended to", "v = [1]", "v.append(2)", True),
    ("dict", "v = {'a': 1}", "v['a'] = 2", True),
    ("instance", "class C: pass\nv = C(); v.x = 1", "v.x = 2", True),
    ("instance, unchanged", "class C: pass\nv = C(); v.x = 1", "v.x = 1", False),
    ("class whose annotations are read", "class v: x: int = 1", "v.__annotations__", False),
    ("module", "import math as v", "import cmath as v", True),
    ("function redefined", "def v(): return 1", "def v(): return 1", True),
    ("function's code", "def v(): return 1", "v.__code__ = (lambda: 2).__code__", True),
    ("function's default", "def v(x=1): return x", "v.__defaults__ = (2,)", True),
    ("function's attribute", "def v(): return 1\nv.n = 1", "v.n = 2", True),
    ("function's mutable default", "def v(x=[]): return x", "v.__defaults__[0].append(1)", True),
    ("function with a mutable default", "def v(x=[]): return x", "pass", False),
    ("class attribute", "class v: x = 1", "v.x = 2", True),
    ("class list", "class v: x = []", "v.x.append(1)", True),
    ("class list, unchanged", "class v: x = []", "v.x.append(1); v.x.clear()", False),
    ("method", "class v:\n def m(self): return 1", "v.m = lambda self: 2", True),
    ("method's default", "class v:\n def m(self, x=1): return x", "v.m.__defaults__ = (2,)", True),
    ("new attribute", "class v: pass", "v.x = 1", True),
    ("deleted", "v = 1", "del v", True),
    ("what cannot travel", "v = (x for x in ())", "pass", False),
    ("what could not", "v = (x for x in ())", "v = 1", True),
    ("what could not and has died", "v = (x for x in ())", "v = None", True),
    ("method that has died", "class v:\n def m(self): return 1", "v.m = None", True),
    ("function that has died", "def v(): return 1", "v = None", True),
    ("class that has died", "class v: pass", "v = None", True),
    ("array", "import numpy\nv = numpy.ones(3)", "v[0] = 2", True),
    ("array, unchanged", "import numpy\nv = numpy.ones(3)", "v = numpy.ones(3)", False),
    ("read-only array that became writable", FROZEN, "v.flags.writeable = True", True),
    ("other read-only array", FROZEN, "v = v.copy() + 1; v.flags.writeable = False", True),
]


@pytest.mark.parametrize(("before", "edit", "changes"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_counts_as_changed(before: str, edit: str, changes: bool) -> None:
    program = Program(None, before + "\ndef read(): return v")  # type: ignore[arg-type]
    first = program.needed("read")["v"]
    assert program.needed("read")["v"] == first
    program.cell(edit)
    assert (program.needed("read").get("v") != first) is changes


@pytest.mark.parametrize("value", ["numpy.ones(10)", "numpy.frombuffer(b'12345678', float)"])
def test_a_read_only_array_is_not_compared(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(None, f"import numpy\nv = {value}\nv.flags.writeable = False\ndef read(): return v")  # type: ignore[arg-type]
    program.cell("base = numpy.ones(10)\nw = base[1:]\nw.flags.writeable = False\ndef read_view(): return w")
    numbers = program.needed("read"), program.needed("read_view")
    monkeypatch.setattr(entry_values, "digest", None)
    assert program.needed("read") == numbers[0]
    monkeypatch.undo()
    program.cell("base[2] = 5")  # others may write to the memory of a view
    assert program.needed("read_view")["w"] != numbers[1]["w"]


def test_a_global_is_sent_when_it_is_needed_and_again_only_when_the_program_has_changed_it(alone: Child) -> None:
    program = Program(alone, "n = 1\nother = 5\ndef get(): return n\ndef put(v):\n global n\n n = v")
    assert program.run("get") == 1
    program.run("put", 2)
    assert program.run("get") == 2  # what a task has set stays
    program.cell("n = 1")
    assert program.run("get") == 2  # the same value is no change
    program.cell("n = 3")
    assert program.run("get") == 3
    program.cell("del n")
    with pytest.raises(NameError):
        program.run("get")
    program.cell("n = 4")
    assert program.run("get") == 4


def test_a_first_arrival_does_not_replace_what_was_set_there(alone: Child) -> None:
    program = Program(alone, "a = 1\nb = 1\ndef put(): globals()[chr(97)] = 7\ndef get(): return a, b")
    assert "a" not in program.needed("put")
    program.run("put")
    assert program.run("get") == (7, 1)
    program.cell("a = 2")
    assert program.run("get") == (2, 1)


def test_an_older_value_and_the_same_one_change_nothing() -> None:
    home = homes.Home("test", "somewhere")
    new, old = (b"\x80\x05K\x02.", b"\x80\x05K\x01.")
    home.learn("n", 20, new, (), "", ())
    home.load("n")
    home.learn("n", 10, old, (), "", ())
    home.load("n")
    assert home.names["n"] == 2
    home.names["n"] = 9
    home.learn("n", 20, new, (), "", ())
    homes.settle()
    assert home.names["n"] == 9
    home.learn("n", 30, None, (), "", ())
    assert "n" not in home.names


class Interrupted(BaseException):
    """As a cancellation that comes while a value is rebuilt."""


class Interrupts:
    """A value whose rebuilding is interrupted the first time."""

    outcomes: ClassVar[list[BaseException | int]] = []

    def __reduce__(self) -> Any:
        return _rebuilt, ()


def _rebuilt() -> int:
    outcome = Interrupts.outcomes.pop(0)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def test_a_value_whose_rebuilding_was_interrupted_is_rebuilt_later() -> None:
    Interrupts.outcomes[:] = [Interrupted(), 5]
    home = homes.Home("test", "somewhere")
    home.want("n")
    home.learn("n", 1, pickle.dumps(Interrupts(), 5), (), "", ())
    with pytest.raises(Interrupted):
        homes.settle()
    homes.settle()
    assert home.names["n"] == 5


def test_functions_classes_and_values_of_a_module_share_one_home(alone: Child) -> None:
    program = Program(
        alone,
        "seen = []\nclass A:\n  def add(self): seen.append(1); return helper()\ndef helper(): return len(seen)\n"
        "def use(): return A().add()\ndef home(): return helper.__globals__ is A.add.__globals__ is globals()",
    )
    assert [program.run("use"), program.run("use"), program.run("helper")] == [1, 2, 2]
    assert program.run("home")


def test_a_definition_made_anew_replaces_the_older_one_and_a_task_runs_what_was_spawned(alone: Child) -> None:
    program = Program(alone, "def helper(): return 1\ndef f(): return helper(), 'old'")
    old = program.names["f"]
    assert alone.run(old) == (1, "old")
    program.cell("def helper(): return 2\ndef f(): return helper(), 'new'")
    assert program.run("f") == (2, "new")
    assert alone.run(old) == (2, "old")


def test_an_object_that_was_made_before_its_class_was_defined_anew_keeps_its_class(alone: Child) -> None:
    module = types.ModuleType("__main__")
    main, sys.modules["__main__"] = sys.modules["__main__"], module
    try:
        exec("class A:\n  v = 1\nold = A()\ndef versions(a): return a.v, A.v, A().v", module.__dict__)
        exec("kept = []\ndef keep(a): kept.append(a)", module.__dict__)
        names = module.__dict__
        assert alone.run(names["versions"], names["old"]) == (1, 1, 1)
        alone.run(names["keep"], names["old"])
        queued = encode_call(names["versions"], (names["old"],))
        exec("class A:\n  v = 2", names)
        assert alone.run(names["versions"], names["old"]) == (1, 2, 2)
        assert alone.run(names["versions"], names["A"]()) == (2, 2, 2)
        assert alone.answer(queued) == (1, 2, 2)
        assert type(alone.run(lambda a: a, names["old"])) is type(names["old"])
    finally:
        sys.modules["__main__"] = main


def test_a_class_that_a_task_keeps_is_the_one_of_later_objects_though_its_name_was_set(alone: Child) -> None:
    module = types.ModuleType("__main__")
    main, sys.modules["__main__"] = sys.modules["__main__"], module
    try:
        exec("class A: v = 1\nkept = []\ndef lose():\n  global A\n  kept.append(A)\n  A = None", module.__dict__)
        assert alone.run(lambda a: a.v, module.A()) == 1
        alone.run(module.lose)
        assert alone.run(lambda a: (a.v, type(a)), module.A()) == (1, module.A)
    finally:
        sys.modules["__main__"] = main


TWO_VERSIONS = """
class Base:
    def __init_subclass__(cls): made.append(1)
made = []
def helper(): return {0}
def wrapped(): return {0}
class Part(Base):
    v = {0}
class K(Part):
    v = {0}
    def __init__(self, v=0): self.mine = {0}, helper(), super().v
    def method(self): return type(self).v, self.mine, __class__.v
    @classmethod
    def named(cls): return cls.v, __class__.v
    @staticmethod
    def plain(): return {0}
"""
QUEUED: list[tuple[str, Any]] = [
    ("(helper,)", 1),
    ("(lambda c: (c.v, c().mine), K)", (1, (1, 2, 1))),
    ("(K,)", (1, 2, 1)),
    ("(K().method,)", (1, (1, 1, 1), 1)),
    ("(K.method, K())", (1, (1, 1, 1), 1)),
    ("(K.named,)", (1, 1)),
    ("(K.plain,)", 1),
    ("(lambda k: (k.v, type(k)().mine), K())", (1, (1, 2, 1))),
    ("(lambda h: h(), helper)", 1),
    ("(wrapped,)", 1),
]


@pytest.mark.parametrize("first", ["arrived", "new", "refused"])
def test_a_queued_call_uses_what_it_was_spawned_with_though_the_worker_has_a_newer_one(
    alone: Child, first: str
) -> None:
    main, wrong = sys.modules["__main__"], []
    try:
        for call, expected in QUEUED:
            module = sys.modules["__main__"] = types.ModuleType("__main__")
            names = module.__dict__
            exec(TWO_VERSIONS.format(1), names)
            names["first"] = names["wrapped"]
            exec("import gc\ndef now(): gc.collect(); return helper(), wrapped(), K.v, K().mine, Part.v", names)
            if first == "arrived":
                assert alone.run(names["now"]) == (1, 1, 1, (1, 1, 1), 1)
            fn, *args = eval(call, names)
            queued = encode_call(fn, tuple(args))
            if first == "refused":
                alone.answer(queued, refused=True)
            exec(TWO_VERSIONS.format(2), names)
            exec("def decorated(f): return lambda: f() + 1\nwrapped = decorated(first)", names)
            assert alone.run(names["now"]) == (2, 2, 2, (2, 2, 2), 2)
            for _ in range(2):
                answer = alone.answer(queued)
                if getattr(answer, "mine", answer) != expected:
                    wrong.append((call, answer))
                assert alone.run(names["now"]) == (2, 2, 2, (2, 2, 2), 2)
    finally:
        sys.modules["__main__"] = main
    assert not wrong


def test_names_are_found_in_annotations_in_eval_and_as_attributes(alone: Child) -> None:
    program = Program(
        alone,
        "limit = 3\nvia = 4\nkey = 5\nimport typing\nclass Part: pass\nclass Whole:\n  part: 'Part'\n"
        "P2 = Part\nP3 = P4 = int\nTable = typing.TypedDict('Table', {'row': 'typing.Annotated[P2, 1]',\n"
        "  'rows': list[typing.Optional['P3']], 'call': typing.Callable[['P4'], int]})\n"
        "def hints(): return [typing.get_type_hints(c)[k] for c, k in [(Whole, 'part'), (Table, 'rows')]]\n"
        "def evaluated(): return eval('limit + 1'), globals()['via'], vars()",
    )
    assert program.run("hints") == [program.names["Part"], list[int | None]]
    assert program.run("evaluated") == (4, 4, {})


SHARING = """
import random
ITEMS = [1]
alias = ITEMS
rng = random.Random(1)
draw = rng.random
class App:
    instance = None
    def __init__(self): self.state = {'n': 0}
app = App(); App.instance = app
state = app.state
class Node: pass
n1 = Node(); n2 = Node(); n1.next = n2; n2.next = n1
CACHE = {}
def aliased(): ITEMS.append(2); return alias is ITEMS, len(alias)
def only_alias(): return len(alias)
def put(k, cache=CACHE): cache[k] = 1
def got(): return sorted(CACHE)
def draws():
    rng.seed(5); first = draw(); rng.seed(5); return first == rng.random()
def apps(): app.state['n'] += 1; return App.instance is app, state is app.state
def just_app(): return App.instance is app
def nodes(): return n1.next is n2, n2.next is n1
"""


@pytest.mark.parametrize("first", [(), ("only_alias", "just_app", "got")], ids=["holder first", "held first"])
def test_globals_that_hold_one_another_are_one_object_there(alone: Child, first: tuple[str, ...]) -> None:
    program = Program(alone, SHARING)
    for name in first:
        program.run(name)
    assert program.run("aliased") == (True, 2)
    assert program.run("only_alias") == 2
    program.run("put", "a")
    assert program.run("got") == ["a"]
    assert program.run("draws")
    assert program.run("apps") == (True, True)
    assert program.run("nodes") == (True, True)
    program.cell("ITEMS.append(7)")
    assert program.run("aliased") == (True, 3)


CIRCLES = """
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
class Left:
    def other(self): return Right
class Right(Left):
    me = None
    def other(self): return Left
Right.me = Right()
def meet(): return Left().other() is Right, Right.me.other() is Left
"""


def test_circles_of_functions_classes_and_instances(alone: Child) -> None:
    program = Program(alone, CIRCLES)
    assert program.run("even", 10)
    assert program.run("meet") == (True, True)


ANEW = """
import os, queue, threading, contextvars, weakref
settings = os.environ
class Held:
    lock = threading.Lock()
    def __init__(self): self.lock = threading.RLock()
held = Held()
table = {'lock': threading.Lock()}
event = threading.Event(); event.set()
condition = threading.Condition()
own = threading.Lock(); of_own = threading.Condition(own)
fifo = queue.Queue(); fifo.put(5)
semaphore = threading.Semaphore(3)
bounded = threading.BoundedSemaphore(1)
barrier = threading.Barrier(1)
local = threading.local(); local.x = 1
unset = contextvars.ContextVar('unset')
with_default = contextvars.ContextVar('v', default=[7]); with_default.set(8)
values, keys, refs = weakref.WeakValueDictionary(), weakref.WeakKeyDictionary(), weakref.WeakSet()
values['a'] = keys[Held] = held; refs.add(held)
def default(lock=threading.Lock()):
    with lock: return True
def kinds():
    with Held.lock, held.lock, table['lock'], condition, semaphore, bounded: pass
    return (event.is_set(), barrier.wait(), hasattr(local, 'x'), unset.get(0), with_default.get(),
        len(values), len(keys), len(refs), default(), semaphore.acquire(False))
def same(): return table['lock'].acquire(False)
def shared():
    assert settings is os.environ
    with own: of_own.notify()
    fifo.put(6)
    return fifo.get(), fifo.get()
"""


def test_what_belongs_to_one_process_is_made_anew_once_in_each(alone: Child) -> None:
    program = Program(alone, ANEW)
    assert program.run("kinds") == (False, 0, False, 0, [7], 0, 0, 0, True, True)
    assert [program.run("same"), program.run("same")] == [True, False]
    assert program.run("shared") == (5, 6)


@pytest.mark.parametrize("made", ["threading.Lock()", "threading.local()"])
def test_in_an_argument_or_a_captured_variable_it_is_refused_as_ever(made: str) -> None:
    program = Program(None, f"import threading, contextvars\nvalue = {made}\ndef f(x): return x")  # type: ignore[arg-type]
    value = program.names["value"]
    for fn, args in ((program.names["f"], ([value],)), (lambda: value, ())):
        with pytest.raises(errors.SerializationError):
            encode_call(fn, args)


def test_what_cannot_travel_is_undefined_and_the_error_says_why(alone: Child) -> None:
    program = Program(
        alone, "SOCK = (x for x in ())\ndef touch(): return SOCK\ndef leave(x):\n  if x: return SOCK\n  return 1"
    )
    assert program.run("leave", 0) == 1
    with pytest.raises(NameError) as caught:
        program.run("touch")
    (note,) = caught.value.__notes__
    assert note.startswith(
        "'SOCK' is a global of __main__ that is not there in a worker: its value, a 'generator' object"
    )
    assert "initializer (with `global SOCK` in it)" in note
    program.cell("SOCK = 1")
    assert program.run("touch") == 1


def test_a_global_whose_rebuilding_fails_leaves_alone_who_does_not_touch_it(alone: Child) -> None:
    program = Program(
        alone, "class Bad:\n  def __setstate__(self, s): raise ValueError('not here')\nbad = Bad(); bad.x = 1\n"
    )
    program.cell("def f(x):\n  if x: return bad\n  return 1")
    assert program.run("f", 0) == 1
    with pytest.raises(NameError) as caught:
        program.run("f", 1)
    assert "ValueError: not here" in caught.value.__notes__[0]


def test_a_name_of_an_importable_module_is_imported_instead(alone: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open(logging.__file__))  # it cannot travel
        monkeypatch.setattr(math, "stream_of_test", stream, raising=False)
        program = Program(alone, "def f(): return 1 if stream_of_test else 0")
        program.names["stream_of_test"] = stream
        with pytest.raises(NameError):  # there, the module has no such name
            program.run("f")
    sent = {entry.name: entry.data for entry in entry_for(program.names["f"]).needs}
    assert b"math" in (sent["stream_of_test"] or b"")


def test_a_lambda_of_a_task_comes_back_with_the_programs_own_globals(alone: Child) -> None:
    program = Program(alone, "n = 1\ndef make(): return lambda: n")
    made = program.run("make")
    program.cell("n = 5")
    assert made() == 5
    assert made.__globals__ is program.names


@needs_usual_references
def test_a_namespace_that_is_gone_leaves_nothing_behind(alone: Child) -> None:
    class Marked:
        pass

    program = Program(alone, "def f(): return n\ndef g(): return f()")
    program.cell("n = 1")
    assert program.run("g") == 1
    token = next(iter(entry_for(program.names["g"]).needs)).home.token
    program.names["marked"] = marked = Marked()
    gone = weakref.ref(marked)
    del program, marked
    gc.collect()
    assert gone() is None
    other = Program(alone, "def f(): return 1")
    assert other.run("f") == 1
    assert token not in alone.run(_tokens)


def _tokens() -> list[str]:
    return list(homes._homes)


def test_nothing_of_a_global_travels_twice(alone: Child) -> None:
    program = Program(alone, "table = {i: i for i in range(1000)}\ndef f(): return table[3]")
    call = encode_call(program.names["f"], ())
    first = globals_sent.message(call.entry.needs, call.entry.payload, None, set(), None)
    assert len(first) > 2000
    alone.run(program.names["f"])
    again = encode_call(program.names["f"], ())
    assert again.entry is call.entry
    assert len(again.data) < 20


def test_a_function_brings_what_it_names_and_no_other_class_of_its_module() -> None:
    program = Program(
        None, "class A: x: 'B'\nclass B: pass\nclass C(A): pass\ndef g(): return A\ndef f(): return g()\n"
    )  # type: ignore[arg-type]
    program.cell("def alone(): return 1")
    assert sorted(program.needed("alone")) == ["alone"]
    assert sorted(program.needed("f")) == ["A", "B", "f", "g"]


PLAIN = """
import os, xml
import xml.dom.minidom
def f(a: int, b: 'str' = 'x') -> None:
    'What it does.'
    return [line for line in (a, b, SEP)], xml.dom.minidom.Document.__name__, os.sep
SEP = '-'
def facts():
    return f.__doc__, f.__qualname__, f.__module__, f.__defaults__, f.__annotations__, f.__code__.co_filename
"""


def test_a_function_that_captures_nothing_is_the_same_there_and_is_updated_in_its_place(alone: Child) -> None:
    program = Program(alone, PLAIN)
    assert program.run("f", 1) == ([1, "x", "-"], "Document", "/")
    assert program.run("facts") == program.names["facts"]()
    program.cell("f.__code__ = (lambda a, b: (a, b, SEP)).__code__\nf.__defaults__ = (2,)\nf.__annotations__ = {}")
    assert program.run("f", 1) == (1, 2, "-")
    assert program.run("facts") == program.names["facts"]()


TYPES = """
import types
def f(a): return list(f.__annotations__.values())
f.__annotations__ = {"a": types.ModuleType, "return": types.GeneratorType}
def g(): return f.__name__
"""


def test_annotations_may_be_types_without_a_name_among_the_builtins(alone: Child) -> None:
    program = Program(alone, TYPES)
    assert program.run("f", 1) == [types.ModuleType, types.GeneratorType]
    assert program.run("g") == "f"


def test_threads_that_send_first_from_a_module_at_once_find_one_home(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("sent_first")
    monkeypatch.setitem(sys.modules, "sent_first", module)
    found: list[Any] = []

    def while_another_is_quicker(name: object) -> bool:
        if not found:
            found.append(None)
            found.append(sent_home.home_of(vars(module)))
        return True

    monkeypatch.setattr(sent_home, "goes_by_value", while_another_is_quicker)
    assert sent_home.home_of(vars(module)) is found[1] is not None


INTERRUPTED = """
errors = [MemoryError, KeyboardInterrupt]
class Value:
    def __reduce__(self):
        if errors: raise errors.pop()
        return int, (5,)
class K: x = Value()
def f(): return K.x
"""


def test_what_was_interrupted_while_it_was_pickled_is_pickled_anew(alone: Child) -> None:
    program = Program(alone, INTERRUPTED)
    with pytest.raises(KeyboardInterrupt):
        program.run("f")
    with pytest.raises(errors.SerializationError, match="MemoryError"):
        program.run("f")
    assert program.run("f") == 5


REFUSED = """
gone = (x for x in ())
class K: held = gone
k = K(); k.held = gone
table, items = {'held': gone}, [gone]
def f(): return sorted(table), items, K.held, k.held
"""


def test_a_global_that_was_missing_and_then_was_there_for_a_while_is_missing_again(alone: Child) -> None:
    program = Program(alone, "def read(): return v\ndef other(): return v")
    with pytest.raises(NameError):
        program.run("read")
    program.cell("v = 1")
    assert program.run("other") == 1
    program.cell("del v")
    with pytest.raises(NameError):
        program.run("read")


def test_what_could_not_travel_travels_once_its_parts_can(alone: Child) -> None:
    program = Program(alone, REFUSED)
    with pytest.raises(NameError):
        program.run("f")
    before = entry_for(program.names["f"])
    assert entry_for(program.names["f"]) is before  # nothing has changed, so nothing is tried again
    program.cell("del table['held']; items[0] = 1; K.held = 2; k.held = 3")
    assert program.run("f") == ([], [1], 2, 3)
