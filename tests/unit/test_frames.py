"""The messages as bytes: what is packed comes back, and whatever else comes is a `ProtocolError`."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unified_exec._wire import block_layout, frames
from unified_exec._wire.frames import ProtocolError

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
BYTE = st.integers(0, 255)
TIMES = st.floats(allow_nan=False)
READERS = [frames.unpack_task, frames.unpack_done, frames.unpack_id, frames.unpack_payload, block_layout.read_layout]


@given(U64, st.text(max_size=300), U32, st.binary(max_size=200), st.binary(max_size=200), TIMES | st.none(), BYTE)
def test_a_task_comes_back_as_it_was_packed(
    id: int, name: str, function_id: int, function: bytes, payload: bytes, deadline: float | None, flags: int
) -> None:
    coded = name.encode("utf-8", "replace")
    task = frames.unpack_task(memoryview(frames.pack_task(id, coded, function_id, function, payload, deadline, flags)))
    assert (task.id, task.function_id, task.flags) == (id, function_id, flags)
    assert (bytes(task.function), bytes(task.payload)) == (function, payload)
    assert task.deadline == (deadline or 0.0)
    if len(coded) <= frames.NAME_MAX:
        assert task.name == coded.decode()


@given(st.text(min_size=frames.NAME_MAX // 4, max_size=2000))
@example("é" * 600)
def test_a_long_name_is_cut_between_two_characters(name: str) -> None:
    coded = name.encode("utf-8", "ignore")
    task = frames.unpack_task(memoryview(frames.pack_task(1, coded, 0, b"", b"payload", None)))
    assert coded.decode().startswith(task.name)
    assert "\ufffd" not in task.name or "\ufffd" in name
    assert bytes(task.payload) == b"payload"


@given(U64, st.integers(0, frames.UNSTARTED), TIMES, TIMES, st.binary(max_size=500), BYTE)
def test_an_answer_comes_back_as_it_was_packed(
    id: int, outcome: int, started: float, finished: float, payload: bytes, flags: int
) -> None:
    message = frames.pack_done(id, outcome, started, finished, payload, flags)
    *rest, back = frames.unpack_done(memoryview(message))
    assert rest == [flags, outcome, id, started, finished]
    assert bytes(back) == payload


@given(U64, st.text(max_size=200).filter(lambda text: "\x00" not in text) | st.none())
def test_an_id_comes_back_with_its_reason(id: int, reason: str | None) -> None:
    try:
        message = frames.pack_id(frames.CANCEL, id, reason)
    except UnicodeEncodeError:
        return  # lone surrogates
    assert frames.unpack_id(memoryview(message)) == (id, reason or None)


def test_a_long_reason_is_cut_and_still_read() -> None:
    message = frames.pack_id(frames.CANCEL, 1, "é" * 5000)
    assert len(message) <= frames.NAME_MAX + 9
    id, reason = frames.unpack_id(memoryview(message))
    assert id == 1
    assert reason is not None
    assert reason.startswith("é" * 200)


@given(BYTE, st.binary(max_size=500), BYTE)
def test_a_payload_comes_back(kind: int, payload: bytes, flags: int) -> None:
    back_flags, back = frames.unpack_payload(memoryview(frames.pack_payload(kind, payload, flags)))
    assert (back_flags, bytes(back)) == (flags, payload)


@given(st.integers(0, 2**40), st.lists(st.integers(0, 2**40), max_size=20))
def test_parts_of_a_shared_block_are_aligned_apart_and_in_order(data: int, buffers: list[int]) -> None:
    table, offsets, total = block_layout.shared_layout(data, buffers)
    assert block_layout.read_layout(table) == (offsets, [data, *buffers])
    assert all(offset % block_layout.ALIGN == 0 for offset in offsets)
    ends = [offset + size for offset, size in zip(offsets, [data, *buffers], strict=True)]
    assert all(end <= offset for end, offset in zip(ends, [*offsets[1:], total], strict=True)) or total == 1
    assert total >= 1


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@given(data=st.binary(max_size=200))
def test_garbage_is_a_protocol_error_or_a_message(read: object, data: bytes) -> None:
    assert callable(read)
    try:
        read(memoryview(data))
    except ProtocolError:
        pass


@pytest.mark.parametrize("cut", range(12))
def test_a_message_cut_short_is_a_protocol_error(cut: int) -> None:
    task = frames.pack_task(1, b"name", 2, b"function", b"payload", 1.0)
    with pytest.raises(ProtocolError):
        frames.unpack_task(memoryview(task)[: len(task) - 1 - cut])
    done = frames.pack_done(1, 0, 0.0, 0.0)
    with pytest.raises(ProtocolError):
        frames.unpack_done(memoryview(done)[: len(done) - 1 - cut])


@given(st.data())
def test_one_flipped_byte_is_a_protocol_error_or_another_message(data: st.DataObject) -> None:
    message = bytearray(frames.pack_task(1, b"name", 2, b"function", b"payload", 1.0))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] = data.draw(BYTE)
    try:
        task = frames.unpack_task(memoryview(bytes(message)))
    except ProtocolError:
        return
    assert len(task.function) + len(task.payload) <= len(message)
    assert not math.isnan(task.deadline) or at >= len(message) - 15 - 8


def test_an_inline_task_always_fits_a_message() -> None:
    big = b"x" * frames.INLINE_MAX
    assert len(frames.pack_task(1, b"n" * 5000, 1, big, big, 1.0)) <= frames.MESSAGE_MAX
    assert len(frames.pack_done(1, 0, 0.0, 0.0, big)) <= frames.MESSAGE_MAX
    assert len(frames.pack_payload(frames.SETUP, big)) <= frames.MESSAGE_MAX
