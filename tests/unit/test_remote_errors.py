"""Law 4, one error story: same type, same state, same relatives, and the frames of where it was raised."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import traceback
import weakref
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.profiles import examples
from tests.unit.wire_child import Child
from unified_exec import errors
from unified_exec._wire.errors.decode import decode_error
from unified_exec._wire.errors.encode import encode_error
from unified_exec._wire.errors.nodes import as_outcome_error


def there_and_back(error: BaseException) -> Any:
    return decode_error(encode_error(error))


def state_of(error: BaseException) -> tuple[Any, ...]:
    names = ["errno", "strerror", "filename", "filename2", "characters_written", "msg", "path", "name", "lineno"]
    names += ["offset", "text", "encoding", "object", "start", "end", "reason", "value", "code", "obj"]
    return (type(error), error.args, str(error), vars(error), [getattr(error, name, None) for name in names])


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


class Keyword(Exception):
    calls = 0

    def __init__(self, a: int, *, b: int) -> None:
        type(self).calls += 1
        super().__init__(f"{a}/{b}")
        self.b = b


class Slotted(Exception):
    __slots__ = ("extra", "unset")


class Reducing(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}")
        self.number = number

    def __reduce__(self) -> Any:
        return type(self), (self.number,), {"seen": True}


class Picky(ExceptionGroup[Exception]):
    def __new__(cls, members: list[Exception], code: int) -> Picky:
        self = super().__new__(cls, "picky", members)
        self.code = code
        return self

    def derive(self, members: Any) -> Picky:
        return Picky(members, self.code)


class Guarded(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("read only")

    __cause__ = property(lambda self: 1 / 0)  # type: ignore[assignment]


class Hostile(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__

    def __reduce__(self) -> Any:
        raise SystemExit


class HostileThere(Exception):
    """Harmless until it is rebuilt."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('rebuilding ended the program')",)


class NotAnError(Exception):
    def __reduce__(self) -> Any:
        return dict, ()


class NoWayBack:
    """An argument that is packed without complaint and cannot be unpacked."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def attribute_error() -> BaseException:
    try:
        return [].nothing  # type: ignore[attr-defined, no-any-return]
    except AttributeError as error:
        return error


BUILT_IN = [
    ValueError("a", 1), KeyError("k"), OSError(2, "no", "file"), OSError(2, "no", "a", None, "b"), OSError("odd"),
    BlockingIOError(11, "busy", 5), ImportError("no", name="n", path="p"),
    SyntaxError("bad", ("f", 1, 2, "text", 1, 3)),
    UnicodeDecodeError("utf8", b"ab", 0, 1, "bad"), UnicodeEncodeError("utf8", "ab", 0, 1, "bad"),
    UnicodeTranslateError("ab", 0, 1, "bad"), StopIteration(4), StopAsyncIteration(5), SystemExit(3),
    KeyboardInterrupt(), NameError("n", name="n"), attribute_error(), RecursionError("deep"), MemoryError(),
    json.JSONDecodeError("m", "doc", 2),
    asyncio.CancelledError("why"), subprocess.CalledProcessError(1, ["x"], b"out"), errors.WorkerCrashed("t", 1, -9),
    errors.SerializationError("a", "b", "c"), errors.TaskTimeout("t", 2.0), errors.Cancelled("r"), Exception(),
    Keyword(1, b=2),
]  # fmt: skip


@pytest.mark.parametrize("error", BUILT_IN, ids=repr)
def test_type_args_attributes_and_c_state_arrive(error: BaseException) -> None:
    assert state_of(there_and_back(error)) == state_of(error)


@settings(max_examples=examples(30, nightly=1000))
@given(
    st.lists(st.none() | st.integers() | st.text() | st.binary()), st.dictionaries(st.text(min_size=1), st.integers())
)
def test_any_plain_args_and_attributes_arrive(args: list[Any], attributes: dict[str, int]) -> None:
    error = ValueError(*args)
    vars(error).update(attributes)
    assert state_of(there_and_back(error)) == state_of(error)


def test_the_users_init_does_not_run_again() -> None:
    error = Keyword(1, b=2)
    calls = Keyword.calls
    assert there_and_back(error).b == 2
    assert Keyword.calls == calls


def test_slots_and_a_reduce_and_a_setattr_of_the_users_own_are_honoured() -> None:
    slotted = Slotted("s")
    slotted.extra = [1]
    back = there_and_back(slotted)
    assert (back.extra, hasattr(back, "unset")) == ([1], False)
    reduced = there_and_back(Reducing(5))
    assert (reduced.number, reduced.seen, reduced.args) == (5, True, ("number 5",))
    assert type(there_and_back(Guarded("g"))) is Guarded


def test_notes_cause_context_and_suppression_arrive() -> None:
    error = Keyword(1, b=2)
    error.add_note("one")
    error.add_note("two")
    error.__context__ = KeyError("context")
    error = raised(error, OSError(2, "no", "file"))  # type: ignore[assignment]
    error.__suppress_context__ = False
    back = there_and_back(error)
    assert back.__notes__ == ["one", "two"]
    assert state_of(back.__cause__) == state_of(error.__cause__)  # type: ignore[arg-type]
    assert state_of(back.__context__)[:3] == (KeyError, ("context",), "'context'")
    assert back.__suppress_context__ is False


def test_nested_groups_and_their_subclasses_arrive() -> None:
    shared = raised(ValueError("shared"))
    inner = Picky([shared, Keyword(3, b=4)], 9)  # type: ignore[list-item]
    error = BaseExceptionGroup("outer", [ExceptionGroup("mid", [inner, shared]), KeyboardInterrupt()])  # type: ignore[list-item]
    back = there_and_back(error)
    assert type(back) is BaseExceptionGroup
    mid, interrupt = back.exceptions
    assert (type(mid), type(interrupt)) == (ExceptionGroup, KeyboardInterrupt)
    assert type(mid.exceptions[0]) is Picky
    assert mid.exceptions[0].code == 9
    assert mid.exceptions[0].exceptions[0] is mid.exceptions[1]
    assert back.args[1][1] is interrupt
    matched, rest = mid.split(Keyword)
    assert type(matched.exceptions[0]) is Picky
    assert rest is not None


def test_every_cycle_arrives_as_the_same_cycle() -> None:
    error = ValueError()
    group = ExceptionGroup("g", [error])
    error.args = (error, [group])
    error.me = error  # type: ignore[attr-defined]
    error.__cause__ = group
    group.__context__ = error
    error.__context__ = error
    back = there_and_back(error)
    assert back.args[0] is back
    assert back.me is back
    assert back.__cause__ is back.args[1][0]
    assert back.__cause__.exceptions == (back,)
    assert back.__cause__.__context__ is back
    assert back.__context__ is back


def test_only_the_node_that_cannot_travel_becomes_a_remote_error() -> None:
    lock = threading.Lock()
    bad = raised(ValueError("has a lock", lock), Keyword(1, b=2))
    bad.add_note("a note")
    back = there_and_back(ExceptionGroup("g", [bad, KeyError(1)]))  # type: ignore[list-item]
    stand_in, other = back.exceptions
    assert type(stand_in) is errors.RemoteError
    assert (stand_in.type_name, stand_in.__notes__) == ("ValueError", ["a note"])
    assert "has a lock" in stand_in.message
    assert "in raised" in stand_in.traceback_text
    assert type(stand_in.__cause__) is Keyword
    assert type(other) is KeyError


def test_what_turns_out_broken_only_here_is_replaced_everywhere() -> None:
    bad = ValueError(NoWayBack())
    good = KeyError(1)
    good.__cause__ = bad
    back = there_and_back(ExceptionGroup("g", [bad, good]))
    assert [type(error) for error in back.exceptions] == [errors.RemoteError, KeyError]
    assert back.exceptions[1].__cause__ is back.exceptions[0]


@pytest.mark.parametrize(
    "error", [Hostile(), HostileThere(), NotAnError(), ExceptionGroup("g", [Hostile()])], ids=lambda e: type(e).__name__
)
def test_no_exception_breaks_either_side(error: Exception) -> None:
    back = there_and_back(error)
    stand_in = back.exceptions[0] if isinstance(back, ExceptionGroup) else back
    assert type(stand_in) is errors.RemoteError
    assert stand_in.type_name.endswith(("Hostile", "HostileThere", "NotAnError"))


def test_an_unpicklable_obj_of_an_attribute_error_is_left_out() -> None:
    for holder in (threading.Lock(), bytearray(1_000_000)):
        try:
            holder.nothing  # type: ignore[attr-defined] # noqa: B018
        except AttributeError as error:
            back = there_and_back(error)
            assert (type(back), back.name, back.obj) == (AttributeError, "nothing", None)


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_an_endless_chain_is_cut(link: str) -> None:
    first = error = ValueError(0)
    for number in range(1, 50_000):
        before, error = error, ValueError(number)
        setattr(before, link, error)
    back, count = there_and_back(first), 0
    while back is not None:
        assert back.args == (count,)
        back, count = getattr(back, link), count + 1
    assert count == 1000
    while first is not None:  # unlink, as deallocating the chain would be as deep
        following = getattr(first, link)
        setattr(first, link, None)
        first = following


def test_groups_nested_beyond_the_recursion_limit_arrive_as_far_as_they_can() -> None:
    error: Exception = ValueError("innermost")
    for _ in range(3 * sys.getrecursionlimit()):
        error = ExceptionGroup("g", [error])
    back, depth = there_and_back(error), 0
    while isinstance(back, ExceptionGroup):
        back, depth = back.exceptions[0], depth + 1
    assert depth > 900
    assert type(back) is errors.RemoteError


def test_too_many_members_are_counted() -> None:
    back = there_and_back(ExceptionGroup("g", [ValueError(n) for n in range(5000)]))
    assert len(back.exceptions) == 1000
    assert "4001 more" in str(back.exceptions[-1])


@pytest.mark.parametrize("data", [b"", b"junk", b"\x80\x05]\x94.", b"\x80\x05K\x01."])
def test_unreadable_bytes_are_a_remote_error(data: bytes) -> None:
    assert type(decode_error(data)) is errors.RemoteError


def fail_in_the_child(n: int) -> None:
    assert n == 0, "the mark in the source"


def recurse() -> None:
    recurse()


def test_the_traceback_shows_the_frames_and_source_of_the_worker(child: Child) -> None:
    with pytest.raises(AssertionError) as caught:
        child.run(fail_in_the_child, 1)
    text = "".join(traceback.format_exception(caught.value))
    assert __file__ in text
    assert "in fail_in_the_child" in text
    assert 'assert n == 0, "the mark in the source"' in text
    assert "^^^^^^" in text
    assert "_wire/" not in text.replace("\\", "/").partition("fail_in_the_child")[2]
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].lineno == fail_in_the_child.__code__.co_firstlineno + 1
    assert "serve" not in {frame.name for frame in frames}


def test_the_traceback_is_the_one_python_prints_without_a_second_process() -> None:
    def inner(numbers: list[int]) -> int:
        return sum(number / 0 for number in numbers)

    try:
        inner([1])
    except ZeroDivisionError as error:
        here = error
    assert traceback.format_exception(there_and_back(here)) == traceback.format_exception(here)


def test_only_the_outer_frames_of_the_worker_itself_are_cut_off() -> None:
    ours: dict[str, Any] = {"__name__": "unified_exec._worker.main"}
    exec("def loop(fn, *args): fn(*args)", ours)
    try:
        ours["loop"](lambda: ours["loop"](fail_in_the_child, 1))
    except AssertionError as error:
        back = decode_error(encode_error(error, skip_frames=1))
    names = [frame.name for frame in traceback.extract_tb(back.__traceback__)]
    assert names == ["<lambda>", "loop", "fail_in_the_child"]


def test_a_rebuilt_error_travels_on_with_all_its_frames(child: Child) -> None:
    def middle() -> None:
        with Child() as grandchild:
            grandchild.run(fail_in_the_child, 1)

    with pytest.raises(AssertionError) as caught:
        child.run(middle)
    text = "".join(traceback.format_exception(caught.value))
    assert "in middle" in text
    assert 'assert n == 0, "the mark in the source"' in text


def test_an_endless_recursion_arrives_short(child: Child) -> None:
    with pytest.raises(RecursionError) as caught:
        child.run(recurse)
    assert len(traceback.extract_tb(caught.value.__traceback__)) < 300
    assert "frames left out" in "".join(traceback.format_tb(caught.value.__traceback__))


def test_errors_of_local_classes_come_back_as_the_senders_own(child: Child) -> None:
    class Local(Exception):
        def __init__(self, *, code: int) -> None:
            super().__init__("text")
            self.code = code

    class LocalGroup(ExceptionGroup[Exception]):
        pass

    def fail() -> None:
        try:
            raise Local(code=1)
        except Local as error:
            raise LocalGroup("g", [Local(code=2)]) from error

    with pytest.raises(LocalGroup) as caught:
        child.run(fail)
    assert type(caught.value.exceptions[0]) is Local
    assert caught.value.exceptions[0].code == 2
    assert type(caught.value.__cause__) is Local


def test_a_class_that_only_the_worker_has_arrives_by_value(child: Child) -> None:
    def fail() -> None:
        class OnlyThere(Exception):
            def __init__(self, code: int) -> None:
                self.code = code

        raise OnlyThere(5)

    with pytest.raises(Exception) as caught:
        child.run(fail)
    assert (type(caught.value).__name__, caught.value.code) == ("OnlyThere", 5)  # type: ignore[attr-defined]


def test_a_rebuilt_error_is_part_of_no_cycle() -> None:
    data = encode_error(raised(Keyword(1, b=1), KeyError(2)))
    gc.collect()
    gc.disable()
    try:
        back = decode_error(data)
        gone = weakref.ref(back)
        del back
        assert gone() is None
    finally:
        gc.enable()


def test_its_frames_hold_no_caller_and_no_variables() -> None:
    back = there_and_back(raised(ValueError(1)))
    frame = back.__traceback__.tb_frame
    assert (frame.f_back, frame.f_locals) == (None, {})
    traceback.clear_frames(back.__traceback__)


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(),
     BaseExceptionGroup("g", [SystemExit()])],
    ids=repr,
)  # fmt: skip
def test_what_is_no_exception_cannot_end_the_program(error: BaseException) -> None:
    outcome = as_outcome_error(error)
    assert type(outcome) is errors.RemoteError
    assert outcome.__cause__ is error


def test_an_exception_stays_itself() -> None:
    error = ExceptionGroup("g", [ValueError()])
    assert as_outcome_error(error) is error
