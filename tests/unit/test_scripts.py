"""Law 8: what a script defines in its own `__main__` works in a worker and comes back as the script's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.wire_child import run_script

CLASSES = """
from dataclasses import dataclass
from enum import Enum
from typing import NewType
import functools, pickle

UserId = NewType("UserId", int)
LIMIT = 3

class Color(Enum):
    RED = 1

@dataclass
class Item:
    n: int
    color: Color = Color.RED

class Broken(Exception):
    def __init__(self, item, *, code):
        super().__init__("broken")
        self.item, self.code = item, code

@functools.lru_cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def helper(item: Item) -> Item:
    return Item(item.n * LIMIT, Color.RED)

def work(item, user: UserId):
    class Local:
        limit = LIMIT
    assert Local.limit == LIMIT
    if item.n < 0:
        raise Broken(item, code=7)
    return [helper(item), fib, work, Item, fib(20), user]

def ids(n):
    yield from range(n)

print("started")
with Child() as child:
    result = child.run(work, Item(2), UserId(5))
    assert type(result[0]) is Item and result[0] == Item(6) and result[0].color is Color.RED
    assert result[1] is fib and result[2] is work and result[3] is Item, result
    assert result[4:] == [6765, 5]
    LIMIT = 4
    assert child.run(work, Item(2), 0)[0].n == 8
    try:
        child.run(work, Item(-1), 0)
    except Broken as e:
        assert type(e.item) is Item and e.code == 7 and e.args == ("broken",)
    else:
        raise AssertionError
    assert child.run(lambda: list(ids(3))) == [0, 1, 2]
print("done")
"""


@pytest.mark.parametrize("command", [False, True])
def test_what_a_script_defines_in_main_works_and_the_script_runs_once(tmp_path: Path, command: bool) -> None:
    assert run_script(CLASSES, tmp_path, command=command) == "started\ndone\n"


ERRORS = """
import traceback
class Problem(Exception):
    def __init__(self, *, code):
        super().__init__("problem")
        self.code = code
def fail():
    raise Problem(code=3)  # the mark
with Child() as child:
    try:
        child.run(fail)
    except Problem as error:
        print(type(error) is Problem, error.code, error.args)
        print("in fail" in "".join(traceback.format_exception(error)))
        print("# the mark" in "".join(traceback.format_exception(error)))
"""


@pytest.mark.parametrize("command", [False, True])
def test_an_error_class_of_a_script_arrives_as_itself(tmp_path: Path, command: bool) -> None:
    lines = run_script(ERRORS, tmp_path, command=command).splitlines()
    assert lines[:2] == ["True 3 ('problem',)", "True"]
    assert lines[2] == "True" or command


FUNCTIONS = """
import threading
FACTOR = 2
class Job:
    def __init__(self, n): self.n = n
    def run(self): return self.n * FACTOR
def call(job): return job.run()
with Child() as child:
    print(child.run(call, Job(3)), child.run(Job(4).run), child.run(Job, 5).n)
    FACTOR = 10
    print(child.run(call, Job(3)))
    print(child.run(lambda: [type(n).__name__ for n in (FACTOR, Job(1))]))
"""


@pytest.mark.parametrize("command", [False, True])
def test_functions_of_a_script_use_its_other_functions_classes_and_globals(tmp_path: Path, command: bool) -> None:
    assert run_script(FUNCTIONS, tmp_path, command=command).split("\n")[:3] == ["6 8 5", "30", "['int', 'Job']"]
