"""Functions travel once, and yet every call sees the present values of what the function captured."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import math
import operator
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.unit.wire_child import Child
from unified_exec import errors
from unified_exec._wire.pickling import functions
from unified_exec._wire.pickling.functions import FunctionTable, card_for, decode_call, encode_call, stats_for

LIMIT = 10
TABLE = {"a": 1}
log = logging.getLogger(__name__)


def add(a: int, b: int = 1) -> int:
    return a + b


def decorate(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args) + 1000

    return wrapper


@decorate
def decorated(n: int) -> int:
    return n


class Accumulator:
    def __init__(self, start: int) -> None:
        self.total = start

    def add(self, n: int) -> int:
        return self.total + n

    def __call__(self, n: int) -> int:
        return self.total * n

    @classmethod
    def made(cls, n: int) -> Accumulator:
        return cls(n)

    @staticmethod
    def double(n: int) -> int:
        return n * 2


def returning(value: Any) -> Any:
    return lambda: value


def by_value(fn: Any, namespace: dict[str, Any] | None = None) -> Any:
    """The same function as if it stood in the user's script, with globals of its own."""
    import types

    copy = types.FunctionType(fn.__code__, {"__name__": "__main__", **(namespace or {})}, fn.__name__, fn.__defaults__)
    copy.__module__ = "__main__"
    return copy


def twin(fn: Any) -> Any:
    """The function as a worker would have it."""
    table = FunctionTable()
    call = encode_call(fn, ())
    if not call.card.volatile:
        table.learn(call.card.id, call.card.blob)
    return decode_call(table, call.card.id, call.data)[0]


@pytest.mark.parametrize(
    "fn",
    [
        add,
        math.factorial,
        len,
        int,
        str.upper,
        Accumulator,
        Accumulator.double,
        Accumulator.add,
        operator.add,
        decorated,
    ],
)
def test_what_has_an_importable_name_goes_by_it(fn: Any) -> None:
    card = card_for(fn)
    assert (card.volatile, card.by_value) == (False, False)
    assert card.id >= 1
    assert len(card.blob) < 120
    assert card_for(fn) is card
    assert twin(fn) is fn


def test_a_function_whose_name_means_another_one_goes_by_value(child: Child) -> None:
    inner = decorated.__wrapped__
    card = card_for(inner)
    assert (card.volatile, card.by_value) == (False, True)
    assert child.run(inner, 1) == 1
    assert child.run(decorated, 1) == 1001


def test_a_lambda_is_sent_once_as_long_as_nothing_changes(child: Child) -> None:
    n = 5
    fn = lambda x: x * n  # noqa: E731
    card = card_for(fn)
    assert not card.volatile
    assert [child.run(fn, 2), child.run(fn, 3)] == [10, 15]
    assert child.cards[-2:] == [card.id, card.id]
    n = 6
    assert card_for(fn) is not card
    assert card.gone
    assert child.run(fn, 2) == 12


CHANGES: list[Any] = [
    ("global", lambda fn, ns: ns.update(x=2)),
    ("global gone", lambda fn, ns: ns.pop("x")),
    ("builtin shadowed", lambda fn, ns: ns.update(len=sum)),
    ("helper's global", lambda fn, ns: ns["helper"].__globals__.update(deep=2)),
    ("helper's code", lambda fn, ns: setattr(ns["helper"], "__code__", (lambda: 9).__code__)),
    ("helper replaced", lambda fn, ns: ns.update(helper=by_value(lambda: 4))),
    ("code", lambda fn, ns: setattr(fn, "__code__", (lambda: 8).__code__)),
    ("default", lambda fn, ns: setattr(fn, "__defaults__", (3,))),
    ("keyword default", lambda fn, ns: setattr(fn, "__kwdefaults__", {"k": 2})),
    ("attribute", lambda fn, ns: setattr(fn, "note", 1)),
    ("attribute changed", lambda fn, ns: setattr(fn, "mark", 1)),
]


@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[name for name, _ in CHANGES])
def test_a_change_of_what_is_captured_makes_a_new_card(change: Any) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "x": 1}
    exec("def fn(a=1, *, k=1): return [y for y in (x, helper(), len([a]), k)]", namespace)
    fn, helper = namespace["fn"], by_value(eval("lambda: deep"), {"deep": 1})
    namespace["helper"] = helper
    fn.__kwdefaults__ = {"k": 1}
    fn.mark = 0
    card = card_for(fn)
    assert not card.volatile
    assert card_for(fn) is card
    change(fn, fn.__globals__)
    assert card_for(fn) is not card


@pytest.mark.parametrize(
    "value",
    [[1], {"a": 1}, {1}, bytearray(1), Accumulator(1), ([1],), object(), type("Local", (), {}), Accumulator(1).add],
    ids=lambda value: type(value).__name__,
)
def test_what_captures_something_mutable_is_never_cached(value: Any) -> None:
    fn = returning(value)
    card = card_for(fn)
    assert (card.volatile, card.id) == (True, 0)
    assert card_for(lambda x=value: x).volatile
    assert card_for(by_value(lambda: x, {"x": value})).volatile  # type: ignore[name-defined] # noqa: F821
    assert card_for(lambda: [fn() for _ in range(1)]).volatile
    assert card_for(functools.partial(add, value)).volatile


@pytest.mark.parametrize(
    "value", [1, "a", None, (1, ("b",)), frozenset({1}), math, add, Accumulator, len, log, returning(3), str.upper],
    ids=repr,
)  # fmt: skip
def test_what_captures_only_constants_is_cached(value: Any) -> None:
    fn = returning(value)
    assert not card_for(fn).volatile
    assert card_for(fn) is card_for(fn)


def test_present_values_of_a_captured_list_are_seen_at_every_call(child: Child) -> None:
    items = [1]
    fn = lambda: sum(items)  # noqa: E731
    assert child.run(fn) == 1
    items.append(5)
    assert child.run(fn) == 6


def test_present_values_of_a_mutable_global_are_seen_at_every_call(child: Child) -> None:
    fn = by_value(lambda: table["a"], {"table": TABLE})  # type: ignore[name-defined] # noqa: F821
    assert child.run(fn) == 1
    TABLE["a"] = 2
    assert child.run(fn) == 2


def test_a_function_that_writes_its_globals_or_cells_starts_afresh_each_time(child: Child) -> None:
    count = 0

    def bump() -> int:
        nonlocal count
        count += 1
        return count

    namespace: dict[str, Any] = {"__name__": "__main__", "total": 0}
    exec("def bump_global():\n  global total\n  total += 1\n  return total", namespace)

    def bump_inside() -> int:
        def inner() -> int:
            nonlocal count
            count += 1
            return count

        return inner()

    for fn in (bump, bump_inside, namespace["bump_global"]):
        assert card_for(fn).volatile
        assert [child.run(fn), child.run(fn)] == [1, 1]
    assert (count, namespace["total"]) == (0, 0)


def test_no_call_sees_the_globals_another_one_left(child: Child) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "seen": 0, "items": []}
    exec(
        "def write(n):\n  global seen\n  seen = n\n  return read()\ndef read():\n  items.append(seen)\n  return items",
        namespace,
    )
    assert child.run(namespace["write"], 5) == [5]
    assert child.run(namespace["read"]) == [0]


def test_a_function_that_was_kept_over_there_keeps_its_values(child: Child) -> None:
    n = 1
    fn = lambda: n  # noqa: E731
    child.run(lambda fn: setattr(logging, "_unified_exec_kept", fn), fn)
    n = 2
    kept = lambda fn: (logging._unified_exec_kept(), fn())  # type: ignore[attr-defined] # noqa: E731
    assert child.run(kept, fn) == (1, 2)


@pytest.mark.parametrize(
    ("fn", "args", "expected"),
    [
        (functools.partial(add, b=5), (1,), 6),
        (functools.partial(lambda a, b: a - b, 9), (1,), 8),
        (Accumulator(3).add, (4,), 7),
        (Accumulator(3), (4,), 12),
        (functools.partial(Accumulator(3).add, 5), (), 8),
        ([1, 2].count, (2,), 1),
        (operator.itemgetter(1), ("ab",), "b"),
        (str.upper, ("a",), "A"),
        (dict.fromkeys, ("a", 1), {"a": 1}),
        (functools.lru_cache(lambda n: n + LIMIT), (1,), 11),
        (lambda n: list(map(lambda x: x + n, [1])), (1,), [2]),  # noqa: C417
        (lambda: type("A", (), {"x": LIMIT}).x, (), 10),
    ],
)
def test_every_kind_of_callable_can_be_called_over_there(child: Child, fn: Any, args: Any, expected: Any) -> None:
    assert child.run(fn, *args) == expected
    assert child.run(fn, *args) == expected


def test_generators_coroutines_and_class_bodies_work(child: Child) -> None:
    def numbers(n: int) -> Iterator[int]:
        yield from range(n)

    async def later(n: int) -> int:
        return n + LIMIT

    namespace: dict[str, Any] = {"__name__": "__main__", "SIZE": 4}
    exec("def body():\n  class A:\n    size = SIZE\n  return A.size", namespace)
    assert child.run(lambda n: list(numbers(n)), 3) == [0, 1, 2]
    assert child.run(lambda n: asyncio.run(later(n)), 1) == 11
    assert child.run(namespace["body"]) == 4


def test_a_partial_of_constants_is_sent_once_until_its_keywords_change(child: Child) -> None:
    fn = functools.partial(lambda a, b: a - b, b=1)
    card = card_for(fn)
    assert not card.volatile
    assert card_for(fn) is card
    fn.keywords["b"] = 2
    assert card_for(fn) is not card
    assert child.run(fn, 5) == 3


def test_function_and_arguments_of_a_volatile_call_share_their_objects(child: Child) -> None:
    items: list[int] = []

    def append(other: list[int]) -> bool:
        other.append(1)
        return items is other

    assert child.run(append, items)
    assert items == []


def test_the_arrays_of_a_bound_method_stay_outside_the_pickle() -> None:
    class Model:
        def __init__(self) -> None:
            self.weights = np.zeros(100_000)

        def predict(self) -> float:
            return float(self.weights.sum())

    packed = encode_call(Model().predict, ())
    assert [view.nbytes for view in packed.buffers] == [800_000]
    assert len(packed.data) < 20_000


def test_cost_is_shared_by_all_that_call_the_same_code() -> None:
    made = [returning(1), returning([2]), functools.partial(returning([3]))]
    cards = [card_for(fn) for fn in made]
    cards[0].cost = 0.25
    assert [card.stats.cost for card in cards] == [0.25] * 3
    assert (
        stats_for(Accumulator(1).add)
        is stats_for(Accumulator.add)
        is stats_for(functools.partial(Accumulator(2).add, 1))
    )
    assert stats_for(Accumulator(1)) is stats_for(Accumulator)
    assert card_for(str.upper).stats is card_for(str.upper).stats
    assert card_for(add).stats is not card_for(returning).stats


def test_a_card_does_not_keep_its_function_alive() -> None:
    def recursive(n: int) -> int:
        return n if n < 1 else recursive(n - 1)  # noqa: F821

    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("def a(): return b()\ndef b(): return a()", namespace)
    gc.collect()
    cards, stats = len(functions._cards), len(functions._stats)
    code = recursive.__code__  # a constant of this test, and its record with it
    stats_for(recursive)
    for fn in (recursive, namespace["a"]):
        card = card_for(fn)
        assert not card.volatile
    gone = weakref.ref(recursive), weakref.ref(namespace["a"])
    del recursive, fn, namespace
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert card.gone
    assert len(functions._cards) == cards
    del card
    gc.collect()
    assert len(functions._stats) == stats + (id(code) in functions._stats)


def test_threads_may_ask_for_cards_at_the_same_time(child: Child) -> None:
    made = [returning(n) for n in range(200)]
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append([card_for(fn).id for fn in made])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert [twin(fn)() for fn in made] == list(range(200))


def test_the_culprit_is_named() -> None:
    def parse(path: str, conn: object) -> None: ...

    lock = threading.Lock()
    with pytest.raises(errors.SerializationError) as caught:
        encode_call(parse, ("a", lock))
    assert caught.value.what == "argument 2 ('conn') of parse()"
    with pytest.raises(errors.SerializationError) as caught:
        encode_call(lambda: lock, ())
    assert caught.value.what == "the function <lambda>()"
    assert ".<closure>.lock is a '_thread.lock' object" in str(caught.value)
    with pytest.raises(errors.SerializationError) as caught:
        encode_call(functools.partial(Accumulator(1).add, 1), ([lock],))
    assert caught.value.what == "argument 1 ('n') of Accumulator.add()" or "argument 1" in caught.value.what


def test_a_function_that_cannot_be_rebuilt_fails_its_own_task_only() -> None:
    table = FunctionTable()
    table.learn(7, b"cno_such_module\nfn\n.")
    for _ in range(2):
        with pytest.raises(errors.SerializationError) as caught:
            table.get(7)
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    with pytest.raises(errors.SerializationError, match="not learnt"):
        table.get(8)
    table.learn(8, card_for(add).blob)
    assert table.get(8) is add
    table.drop(8)
    table.drop(9)
    with pytest.raises(errors.SerializationError, match="not learnt"):
        table.get(8)


def test_a_module_registered_with_cloudpickle_goes_by_value(child: Child) -> None:
    import cloudpickle

    import tests.unit.wire_child as module

    fn = module._boot_is_long  # defined below the serving code, importable by name
    assert not card_for(fn).by_value
    cloudpickle.register_pickle_by_value(module)
    try:
        functions._cards.clear()
        assert card_for(fn).by_value
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        functions._cards.clear()
