"""Law 4: values travel whole, in both directions, and what cannot travel says so before anything is sent."""

from __future__ import annotations

import array
import gc
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tests.unit.wire_child import ROOT, Child
from unified_exec import errors
from unified_exec._pools.process import decode_result
from unified_exec._wire import block_layout, frames
from unified_exec._wire.pickling import c_pickle, codec, digests
from unified_exec._worker.run_chunk import ChunkResults

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner) | st.frozensets(st.integers())
    ),
    max_leaves=20,
)


def there_and_back(value: object) -> Any:
    packed = codec.encode_value(value)
    return codec.decode(packed.data, [memoryview(bytearray(view)) for view in packed.buffers])


def args_there(*args: object) -> Any:
    packed = codec.encode_args(args)
    return codec.decode(packed.data, [memoryview(bytearray(view)) for view in packed.buffers])


def make_array(size: int) -> Any:
    return np.arange(size, dtype="f8")


def increment(numbers: Any) -> Any:
    numbers += 1
    return numbers


class Hostile:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


@given(PLAIN)
def test_plain_data_arrives_equal(value: object) -> None:
    assert there_and_back(value) == value
    assert args_there(value, value) == (value, value)


@given(st.binary(max_size=40), st.integers(-3, 3).filter(bool), st.booleans())
def test_a_memoryview_arrives_as_a_memoryview_whatever_its_strides(data: bytes, step: int, writable: bool) -> None:
    view = memoryview(bytearray(data) if writable else data)[::step]
    for arrived in (there_and_back(view), args_there(view)[0], there_and_back([view])[0]):
        assert type(arrived) is memoryview
        assert arrived.tobytes() == view.tobytes()
        assert arrived.contiguous


def test_a_memoryview_keeps_its_format_and_shape() -> None:
    view = memoryview(array.array("i", range(6))).cast("B").cast("i", (2, 3))
    assert there_and_back(view).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert there_and_back(memoryview(np.asfortranarray(np.arange(6.0).reshape(2, 3)))).tolist() == [
        [0, 1, 2],
        [3, 4, 5],
    ]


class Carrier:
    """Offers its memory as a pickle-5 buffer."""

    def __init__(self, memory: object) -> None:
        self.memory = memory

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Carrier, (pickle.PickleBuffer(self.memory),)


SIZE = c_pickle.OOB_MIN


VIEWS: dict[str, Callable[[], memoryview]] = {
    "flat": lambda: memoryview(bytearray(SIZE)),
    "shaped": lambda: memoryview(bytearray(8 * SIZE)).cast("d", (SIZE // 2, 2)),
    "order of Fortran": lambda: memoryview(np.zeros((2, SIZE), order="F")),
    "other byte order": lambda: memoryview(np.zeros(SIZE, dtype=">i4")),
}


@pytest.mark.parametrize(("kind", "carry"), [("shaped", lambda view: view), *((kind, Carrier) for kind in VIEWS)])
def test_what_is_packed_exports_no_view(kind: str, carry: Callable[[memoryview], object]) -> None:
    """CPython before 3.12.7 crashes when it collects a ring with a view that still has exports."""
    view = VIEWS[kind]()
    packed = codec.pack(carry(view), upward=False)
    content = view.tobytes(order="A")
    view.release()  # refused while it has exports
    assert [bytes(each) for each in packed.buffers] == [content]


REFUSED: dict[str, Callable[[memoryview], object]] = {
    "argument": lambda view: codec.encode_args((view, threading.Lock())),
    "inside an argument": lambda view: codec.encode_args(([view, threading.Lock()],)),
    "with its function": lambda view: codec.encode_call_args(lambda: None, (view, threading.Lock())),
    "result": lambda view: codec.encode_value([view, threading.Lock()]),
    "carried": lambda view: codec.encode_value([Carrier(view), threading.Lock()]),
    "strided": lambda view: codec.encode_value([Carrier(view), threading.Lock()]),
    "global": lambda view: digests.digest([Carrier(view), (x for x in ())]),
    "strided global": lambda view: digests.digest(Carrier(view)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_error_of_what_cannot_travel_exports_no_view(what: str) -> None:
    """It keeps frames, and may be in a ring with them: CPython before 3.12.7 crashes when it collects that."""
    view = memoryview(bytearray(SIZE))[:: 2 if "strided" in what else 1]
    with pytest.raises((errors.SerializationError, pickle.PicklingError, TypeError)) as caught:
        REFUSED[what](view)
    view.release()  # refused while it has exports
    assert caught.tb is not None


class Homesick:
    def __setstate__(self, state: object) -> None:
        raise ValueError("far from home")


def test_the_error_of_a_result_that_cannot_be_rebuilt_keeps_no_other_result() -> None:
    bad = Homesick()
    bad.name = "bad"  # type: ignore[attr-defined]
    packed = codec.encode_value(ChunkResults([Carrier(b"1"), bad, Carrier(b"3")]))
    gc.disable()
    try:
        outcome: Any = decode_result.outcome_of("map of f", frames.VALUE, packed.data, ())
        first, failure, last = outcome.unwrap().results
        assert (bytes(first.memory), bytes(last.memory)) == (b"1", b"3")
        assert str(failure.error.__cause__) == "far from home"
        assert "Homesick.__setstate__" in failure.error.__cause__.__notes__[0]
        kept, cause = weakref.ref(first), weakref.ref(failure.error)
        del outcome, first, last
        assert kept() is None
        del failure
        assert cause() is None
    finally:
        gc.enable()


def test_a_memoryview_whose_format_would_be_lost_is_refused() -> None:
    with pytest.raises(errors.SerializationError, match="format"):
        codec.encode_value(memoryview(np.zeros(3, dtype=">i4")))


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("size", [0, codec.OOB_MIN - 1, codec.OOB_MIN, codec.OOB_MIN + 1])
def test_top_level_bytes_leave_the_pickle_from_the_threshold_on(kind: Any, size: int) -> None:
    value = kind(b"x" * size)
    for packed in (codec.encode_value(value), codec.encode_args((1, value))):
        assert len(packed.buffers) == (size >= codec.OOB_MIN)
        assert (len(packed.data) < 200) == (size >= codec.OOB_MIN or size == 0)
        assert all(view.nbytes == size and view.c_contiguous for view in packed.buffers)
    arrived = there_and_back(value)
    assert type(arrived) is kind
    assert arrived == value


def test_nested_bytes_stay_inside() -> None:
    packed = codec.encode_value([b"x" * codec.OOB_MIN])
    assert packed.buffers == ()


def test_small_arrays_stay_inside_and_big_ones_are_not_copied() -> None:
    small, big = make_array(10), make_array(codec.OOB_MIN)
    packed = codec.encode_args((small, {"big": big}))
    (view,) = packed.buffers
    assert np.shares_memory(np.frombuffer(view), big)
    first, second = codec.decode(packed.data, [memoryview(bytearray(view))])  # type: ignore[misc]
    assert (first == small).all()
    assert (second["big"] == big).all()


def test_arrays_arrive_writable_and_the_senders_stay_as_they_are() -> None:
    numbers = make_array(codec.OOB_MIN)
    with Child() as child:
        result = child.run(increment, numbers)
    assert numbers[0] == 0
    assert result[0] == 1
    assert result.flags.writeable


def test_the_text_main_in_data_is_only_data() -> None:
    value = {"__main__": ["__main__", b"__mp_main__"]}
    assert there_and_back(value) == value


@pytest.mark.parametrize("error", [ValueError("boom"), RecursionError("deep"), MemoryError(), AttributeError("gone")])
def test_what_pickling_raises_is_the_cause(error: Exception) -> None:
    for encode in (codec.encode_value, lambda value: codec.encode_args((value,))):
        with pytest.raises(errors.SerializationError) as caught:
            encode(Hostile(error))
        assert caught.value.__cause__ is error


def test_a_keyboard_interrupt_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        codec.encode_value(Hostile(KeyboardInterrupt()))


def test_nesting_beyond_the_recursion_limit_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(errors.SerializationError, match="RecursionError"):
        codec.encode_args((deep,))
    while deep:  # its own deallocation would be deep as well
        deep = deep[0]


def test_the_argument_that_cannot_travel_is_named() -> None:
    def parse(path: str, conn: object, *rest: object) -> None: ...

    with pytest.raises(errors.SerializationError) as caught:
        codec.encode_args(("a", [threading.Lock()]), parse)
    assert caught.value.what == "argument 2 ('conn') of parse()"
    assert "[0] is a '_thread.lock' object" in caught.value.why
    with pytest.raises(errors.SerializationError, match=r"argument 4 \(\*'rest'\) of parse\(\)"):
        codec.encode_args(("a", 1, 2, threading.Lock()), parse)


def test_an_open_file_is_refused_and_not_read_as_text() -> None:
    with open(__file__) as file:
        with pytest.raises(errors.SerializationError, match="open it in the worker"):
            codec.encode_args((file,))


@pytest.mark.parametrize("data", [b"", b"\x80\x05.", b"cnowhere\nnothing\n.", b"\x80\x05K"])
def test_bytes_that_are_no_pickle_are_a_serialization_error(data: bytes) -> None:
    with pytest.raises(errors.SerializationError) as caught:
        codec.decode(data, (), "the result of parse()")
    assert caught.value.what == "the result of parse()"
    assert caught.value.__cause__ is not None


def test_importing_the_codec_stays_light() -> None:
    heavy = {"cloudpickle", "pickle", "traceback", "re", "enum", "inspect", "typing", "tblib", "dis", "anyio"}
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import unified_exec; before = set(sys.modules)\n"
        "from unified_exec._wire.errors import encode\n"
        "from unified_exec._wire.pickling import codec, functions, identity\n"
        "codec.decode(codec.encode_args((1, [2])).data); encode.encode_error(ValueError(1))\n"
        f"print(sorted((set(sys.modules) - before) & {heavy!r}))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]", done


def test_so_many_buffers_travel_outside_the_pickle_that_the_table_of_them_fits_into_a_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, _, _ = block_layout.shared_layout(0, [1] * (c_pickle.OOB_MOST + 1))  # and one for the function
    assert len(table) <= frames.INLINE_MAX
    monkeypatch.setattr(c_pickle, "OOB_MIN", 1)
    monkeypatch.setattr(c_pickle, "OOB_MOST", 3)
    arrays = [np.arange(4) + number for number in range(5)]
    assert len(codec.encode_value(arrays).buffers) == 3
    there = there_and_back(arrays)
    assert [array.tolist() for array in there] == [array.tolist() for array in arrays]
    assert all(array.flags.writeable for array in there)
