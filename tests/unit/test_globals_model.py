"""Random programs against a model of the law's rules about globals: what travels, what stays, what a task sees."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.profiles import examples
from tests.unit.wire_child import Child
from unified_exec._wire.pickling.functions import EncodedCall, encode_call

VALUES = ("a", "b", "c")
FUNCTIONS = ("f", "g", "h")
UNDEFINED = "undefined"
UNTOLD = "c"
"""A worker may set this name by its computed text, before it was ever sent."""

TASKS = """
def write_a(v):
    global a
    a = v
def write_b(v):
    global b
    b = v
def append_a(v):
    try: a.append(v)
    except (NameError, AttributeError): pass
def write_class(v):
    try: K.v = v
    except NameError: pass
def touch_class(v): return K
def poke(v): globals()[chr(99)] = v
"""
WRITTEN = {"write_a": "a", "write_b": "b", "append_a": "a", "write_class": "K", "touch_class": "K", "poke": None}


class Function:
    """A function of the program: its number, what it reads, and in the program the object itself."""

    def __init__(self, number: int, reads: tuple[str, ...], real: Any = None) -> None:
        self.number = number
        self.reads = reads
        self.real = real


class Class:
    """A class of the program, of which one attribute matters."""

    def __init__(self, number: int, v: Any) -> None:
        self.number = number
        self.v = v


class CannotTravel:
    """A value that is in the program only."""


class Values:
    """The model's program: its names, and of each name the values that a call has ever needed, oldest first."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.versions: dict[str, list[Any]] = {}

    def needs(self, roots: tuple[str, ...]) -> dict[str, int]:
        """The version of each name that these need, themselves and through functions."""
        found: dict[str, int] = {}
        queue = list(roots)
        while queue:
            name = queue.pop()
            if name in found or (name not in self.names and name not in self.versions):
                continue
            value = self.names.get(name, UNDEFINED)
            versions = self.versions.setdefault(name, [])
            if not versions or not same(versions[-1], value):
                versions.append(frozen(value))
            found[name] = len(versions)
            if isinstance(value, Function):
                queue += value.reads
        return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Class) and isinstance(other, Class):
        return one.number == other.number and same(one.v, other.v)
    if isinstance(one, (Function, CannotTravel)) or isinstance(other, (Function, CannotTravel)):
        return one is other
    return type(one) is type(other) and bool(one == other)


def frozen(value: Any) -> Any:
    return value if isinstance(value, (Function, CannotTravel)) else copy.deepcopy(value)


class Programs(RuleBasedStateMachine):
    """A program that is typed in, its model, and one worker for both."""

    child: Child

    def __init__(self) -> None:
        super().__init__()
        self.real: dict[str, Any] = {"__name__": "__main__"}
        exec(TASKS, self.real)
        self.program = Values()
        for name in WRITTEN:
            self.program.names[name] = Function(0, (WRITTEN[name],) if WRITTEN[name] else ())  # type: ignore[arg-type]
        self.worker: dict[str, Any] = {}
        self.known: dict[str, int] = {}
        self.count = 0
        self.old: list[Function] = []
        self.queued: list[tuple[EncodedCall, dict[str, int], Function]] = []

    # -- the program. A class comes along with calls that do not name it: it is sent at once, so that it is known when

    @rule(name=st.sampled_from(VALUES), value=st.integers(0, 3) | st.sampled_from(["x", True, None]))
    def set_atom(self, name: str, value: Any) -> None:
        self.real[name] = self.program.names[name] = value

    @rule(name=st.sampled_from(VALUES), value=st.lists(st.integers(0, 2), max_size=2))
    def set_list(self, name: str, value: list[int]) -> None:
        self.real[name] = list(value)
        self.program.names[name] = list(value)

    @rule(name=st.sampled_from(VALUES), value=st.integers(0, 2))
    def change_list(self, name: str, value: int) -> None:
        for names in (self.real, self.program.names):
            if isinstance(names.get(name), list):
                names[name].append(value)

    @rule(name=st.sampled_from(VALUES))
    def set_what_cannot_travel(self, name: str) -> None:
        self.real[name] = (None for _ in ())
        self.program.names[name] = CannotTravel()

    @rule(name=st.sampled_from(VALUES))
    def delete(self, name: str) -> None:
        for names in (self.real, self.program.names):
            names.pop(name, None)

    @rule(name=st.sampled_from(FUNCTIONS), reads=st.sets(st.sampled_from([*VALUES, "K", *FUNCTIONS[1:]])))
    def define_function(self, name: str, reads: set[str]) -> None:
        self.count += 1
        chosen = tuple(sorted(read for read in reads if read not in FUNCTIONS or read > name))
        words = {read: f"{read}()" if read in FUNCTIONS else "K.v" if read == "K" else read for read in chosen}
        text = f"def {name}():\n    seen = [{self.count}]\n"
        for word in words.values():
            text += f'    try: seen.append({word})\n    except NameError: seen.append("{UNDEFINED}")\n'
        exec(f"{text}    return seen\n", self.real)
        made = Function(self.count, chosen, self.real[name])
        self.program.names[name] = made
        self.old.append(made)

    @rule(v=st.integers(0, 3))
    def define_class(self, v: int) -> None:
        self.count += 1
        exec(f"class K:\n    v = {v}\n", self.real)
        self.program.names["K"] = Class(self.count, v)
        self.write("touch_class", 0)

    @rule(v=st.integers(0, 3))
    def change_class(self, v: int) -> None:
        if "K" in self.real:
            self.real["K"].v = self.program.names["K"].v = v
            self.write("touch_class", 0)

    # -- tasks that write

    @rule(name=st.sampled_from(["append_a", "poke", "write_a", "write_b"]), v=st.integers(0, 3))
    def write_name(self, name: str, v: int) -> None:
        self.write(name, v)

    @precondition(lambda self: "K" in self.real)
    @rule(v=st.integers(0, 3))
    def write_class(self, v: int) -> None:
        self.write("write_class", v)

    def write(self, name: str, v: int) -> None:
        self.arrive(self.program.needs((name,)))
        self.child.run(self.real[name], v)
        written = WRITTEN[name]
        if name == "append_a":
            if isinstance(self.worker.get("a"), list):
                self.worker["a"].append(v)
        elif name == "write_class":
            if "K" in self.worker:
                self.worker["K"].v = v
        elif name != "touch_class":
            self.worker[written or UNTOLD] = v

    # -- tasks that read

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        self.finish(*self.spawned(data))

    @precondition(lambda self: self.old and len(self.queued) < 3)
    @rule(data=st.data())
    def spawn(self, data: st.DataObject) -> None:
        self.queued.append(self.spawned(data))

    @precondition(lambda self: self.queued)
    @rule(data=st.data())
    def run_queued(self, data: st.DataObject) -> None:
        self.finish(*self.queued.pop(data.draw(st.integers(0, len(self.queued) - 1))))

    def spawned(self, data: st.DataObject) -> tuple[EncodedCall, dict[str, int], Function]:
        """A call of any function that was ever defined, encoded now."""
        function = data.draw(st.sampled_from(self.old))
        present = tuple(name for name in FUNCTIONS if self.program.names.get(name) is function)
        return encode_call(function.real, ()), self.program.needs((*present, *function.reads)), function

    def finish(self, call: EncodedCall, needs: dict[str, int], function: Function) -> None:
        self.arrive(needs)
        assert self.child.answer(call) == self.answer(function)

    # -- the model of a worker

    def arrive(self, needs: dict[str, int]) -> None:
        for name, version in needs.items():
            first = name not in self.known
            if version <= self.known.get(name, 0):
                continue
            self.known[name] = version
            if first and name in self.worker:
                continue
            value = self.program.versions[name][version - 1]
            if isinstance(value, CannotTravel) or value == UNDEFINED:
                self.worker.pop(name, None)
            else:
                self.worker[name] = frozen(value)

    def answer(self, function: Function) -> list[Any]:
        seen: list[Any] = [function.number]
        for name in function.reads:
            value = self.worker.get(name, UNDEFINED)
            if isinstance(value, Function):
                value = self.answer(value)
            seen.append(value.v if isinstance(value, Class) else value)
        return seen


@pytest.fixture
def alone() -> Iterator[Child]:
    with Child() as child:
        yield child


def test_a_task_sees_the_globals_that_the_rules_promise_whatever_program_and_tasks_do(alone: Child) -> None:
    Programs.child = alone
    run_state_machine_as_test(
        Programs, settings=settings(max_examples=examples(25, 500), stateful_step_count=25, deadline=None)
    )
