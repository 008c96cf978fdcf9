"""Law 4: what was sent by value comes back as the sender's own object, through any number of processes."""

from __future__ import annotations

import enum
import functools
import gc
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest

from tests.this_python import needs_usual_references
from tests.unit.class_makers import MAKERS, instances, plain_class, slots_class
from tests.unit.wire_child import Child
from unified_exec import errors
from unified_exec._wire.pickling import codec, identity

T = TypeVar("T")


def same(value: Any) -> Any:
    return value


def nested(value: Any) -> Any:
    with Child() as grandchild:
        return grandchild.run(same, value)


def is_same_as_before(key: str, value: Any) -> bool:
    kept = sys.__dict__.setdefault("_unified_exec_test", {})
    return kept.setdefault(key, value) is value


def with_cloudpickle(value: Any, data: bytes) -> tuple[bool, bytes, bool]:
    loaded = "cloudpickle" in sys.modules
    import cloudpickle

    return loaded, cloudpickle.dumps(value), cloudpickle.loads(data) is type(value)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("through", [instances, "two processes"])
def test_classes_and_their_instances_come_back_as_the_senders_own(child: Child, make: Any, through: Any) -> None:
    cls = make()
    if through is instances:
        back, made, fits = child.run(instances, cls, 7)
        assert fits
    else:
        back, made = child.run(nested, (cls, cls(7)))
    assert back is cls
    assert type(made) is cls
    assert made.x == 7


def test_slots_are_real_slots_over_there(child: Child) -> None:
    cls = slots_class()
    sent = cls(3)
    assert child.run(lambda sent: (hasattr(sent, "__dict__"), sent.hidden()), sent) == (False, -3)
    assert child.run(same, sent).hidden() == -3


def test_an_enum_keeps_members_aliases_and_what_its_init_made(child: Child) -> None:
    class Planet(enum.Enum):
        EARTH = (5.0, 6.0)
        MARS = (1.0, 2.0)
        HOME = (5.0, 6.0)  # noqa: PIE796

        def __init__(self, mass: float, radius: float) -> None:
            self.mass = mass
            self.radius = radius

        def density(self) -> float:
            return self.mass / self.radius

    class Bits(enum.Flag):
        A = 1
        B = 2
        AB = 3

    class Odd(enum.Enum):
        NO_NUMBER = float("nan")

    def ask(cls: Any, member: Any) -> Any:
        return member is cls.EARTH, cls["HOME"] is member, member.radius, member.density(), cls.MARS

    assert child.run(ask, Planet, Planet.EARTH) == (True, True, 6.0, 5 / 6, Planet.MARS)
    assert child.run(ask, Planet, Planet.EARTH)[4] is Planet.MARS
    assert child.run(same, (Bits.A | Bits.B, Bits)) == (Bits.AB, Bits)
    assert child.run(same, Odd.NO_NUMBER) is Odd.NO_NUMBER  # no value finds it


def test_a_class_is_made_once_over_there_and_refreshed_at_each_arrival(child: Child) -> None:
    class Settings:
        level = 1
        old = True

    assert child.run(lambda cls: (cls.level, hasattr(cls, "old")), Settings) == (1, True)
    assert child.run(is_same_as_before, "settings", Settings)
    Settings.level = 2
    del Settings.old
    Settings.new = [1]  # type: ignore[attr-defined]
    assert child.run(lambda cls: (cls.level, hasattr(cls, "old"), cls.new), Settings) == (2, False, [1])
    assert child.run(is_same_as_before, "settings", Settings)


def test_a_class_arrives_without_running_init_subclass_again(child: Child) -> None:
    class Plugin(Generic[T]):
        known: list[str] = []  # noqa: RUF012

        def __init_subclass__(cls, *, key: str, **rest: Any) -> None:
            super().__init_subclass__(**rest)
            if key in cls.known:
                raise ValueError("twice")
            cls.known.append(key)

    class Json(Plugin[int], key="json"):
        pass

    class Slotted:
        __slots__ = ()

        def __init_subclass__(cls, *, key: str) -> None: ...

    class Small(Slotted, key="small"):
        __slots__ = ("x",)

    assert child.run(lambda cls: (cls, hasattr(cls(), "__dict__")), Small) == (Small, False)
    back, made, bases, known = child.run(lambda cls: (cls, cls(), cls.__bases__, cls.known), Json)
    assert (back, type(made), bases, known) == (Json, Json, (Plugin,), ["json"])


def test_in_pickles_that_a_task_writes_or_reads_with_cloudpickle_a_class_is_the_same_one() -> None:
    import cloudpickle

    cls = plain_class()
    with Child() as child:
        loaded, data, same = child.run(with_cloudpickle, cls(1), cloudpickle.dumps(cls))
    assert not loaded, "so the class was made without it"
    assert same
    assert type(cloudpickle.loads(data)) is cls


def test_the_senders_class_is_never_overwritten(child: Child) -> None:
    class Counter:
        hits = 0

    def hit(cls: Any) -> Any:
        cls.hits += 5
        return cls, cls()

    back, made = child.run(hit, Counter)
    assert back is Counter
    assert type(made) is Counter
    assert Counter.hits == 0


def test_functions_come_back_as_the_senders_own(child: Child) -> None:
    def outer(n: int) -> int:
        return 1 if n < 2 else n * outer(n - 1)

    @functools.cache
    def cached(n: int) -> int:
        return n if n < 2 else cached(n - 1) + cached(n - 2)

    class Holder:
        def method(self) -> str:
            return "mine"

    assert child.run(lambda f: (f, f(5)), outer) == (outer, 120)
    back, value = child.run(lambda f: (f, f(30)), cached)
    assert back is cached
    assert value == 832040
    assert cached.cache_info().currsize == 0
    assert child.run(lambda cls: cls.method, Holder) is Holder.method
    assert child.run(nested, (outer, cached, Holder))[0] is outer


def test_a_class_made_over_there_arrives_by_value_and_stays_one_class(child: Child) -> None:
    def make(kept: str, value: int) -> Any:
        store = sys.__dict__.setdefault("_unified_exec_made", {})
        if kept not in store:

            class Made:
                def __init__(self, value: int) -> None:
                    self.value = value

                def doubled(self) -> int:
                    return self.value * 2

            store[kept] = Made
        return store[kept](value)

    one, two = child.run(make, "a", 1), child.run(make, "a", 2)
    assert (one.doubled(), two.doubled()) == (2, 4)
    assert type(one) is type(two)
    assert child.run(lambda thing, kept: type(thing) is sys.__dict__["_unified_exec_made"][kept], one, "a")
    with Child() as other:  # a class that is foreign to both
        assert type(other.run(same, one)) is type(one)
    from_grandchild = child.run(nested, one)
    assert type(from_grandchild) is type(one)


def test_the_token_alone_goes_up(child: Child) -> None:
    def size(thing: Any) -> int:
        from unified_exec._wire.pickling import codec

        return len(codec.encode_value([thing]).data)

    assert child.run(size, plain_class()) < 200
    assert child.run(size, lambda: 1) < 200


def test_what_a_worker_made_itself_comes_down_again_as_its_own(child: Child) -> None:
    def make() -> Any:
        class Made:
            level = 1

        def made() -> int:
            return Made.level

        store = sys.__dict__["_unified_exec_own"] = (Made, made)
        return store

    def ask(cls: Any, function: Any) -> Any:
        own_class, own_function = sys.__dict__["_unified_exec_own"]
        return cls is own_class, function is own_function, cls.level

    def change() -> None:
        sys.__dict__["_unified_exec_own"][0].level = 2

    cls, function = child.run(make)
    child.run(change)
    assert child.run(ask, cls, function) == (True, True, 2)
    assert (cls.level, function()) == (1, 1)


def test_what_went_through_a_worker_comes_back_untouched(child: Child) -> None:
    def fetch() -> Any:
        def make() -> Any:
            class Deep:
                level = 1

            return Deep

        with Child() as grandchild:
            cls = sys.__dict__["_unified_exec_deep"] = grandchild.run(make)
        return cls

    def change(cls: Any) -> Any:
        assert cls is sys.__dict__["_unified_exec_deep"]
        cls.level = 99
        return cls

    cls = child.run(fetch)
    cls.level = 5
    assert child.run(change, cls) is cls
    assert cls.level == 5


def test_a_class_made_by_a_grandchild_reaches_the_top_by_value() -> None:
    def make() -> Any:
        class Deep:
            depth = 2

        return Deep

    def middle(make: Callable[[], Any]) -> Any:
        with Child() as grandchild:
            return grandchild.run(make)

    with Child() as child:
        cls = child.run(middle, make)
        assert cls.depth == 2
        assert child.run(same, cls) is cls


@needs_usual_references
def test_what_no_longer_exists_says_so() -> None:
    class Short:
        pass

    token = identity.issue(Short)
    assert identity.parents_own(token) is Short
    del Short
    gc.collect()
    with pytest.raises(errors.SerializationError, match="no longer exists"):
        identity.parents_own(token)
    assert token not in identity._by_token


def test_a_packed_call_keeps_what_may_come_back(child: Child) -> None:
    def packed() -> codec.Packed:
        class Short:
            pass

        return codec.encode_args((Short,))

    held = packed()
    gc.collect()
    assert len(held.keep) >= 1
    assert isinstance(held.keep[0], type)


@needs_usual_references
def test_the_class_tables_forget_the_dead(child: Child) -> None:
    gc.collect()
    before = len(identity._records), len(identity._by_token)
    for _ in range(20):
        child.run(same, plain_class()(1))
    gc.collect()
    assert (len(identity._records), len(identity._by_token)) == before
