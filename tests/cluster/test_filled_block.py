"""Large data that arrives from elsewhere: it lies in the worker's shared memory from the start."""

from __future__ import annotations

import hashlib
import os
import pickle
from typing import Any

import pytest

from tests.cluster.gate_sender import Sender
from unified_exec import share
from unified_exec._platform import shared_memory
from unified_exec._pools.process.filled_block import FilledBlock
from unified_exec._pools.process.relayed import RelayCall
from unified_exec._wire.pickling.functions import encode_call


def digest(*parts: Any) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def digest_of_shared(shared: Any) -> str:
    return digest(shared.value)


async def test_a_large_call_in_a_block_of_the_gate_is_not_copied_again(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = bytearray(os.urandom(3 << 20)), bytearray(os.urandom(70_001))
    call = encode_call(digest, tuple(pickle.PickleBuffer(each) for each in arguments))
    sender.submit(1, digest, b"")  # the gate has learnt it
    await sender.ends.end_of(1)
    monkeypatch.setattr(shared_memory, "write_block", None)
    for id, payload in ((2, call.data), (3, None)):  # the pickled arguments were there before, or arrive, too
        parts = call.buffers if payload else (memoryview(call.data), *call.buffers)
        room = sender.gate.room([part.nbytes for part in parts], payload)
        for place, part in zip(room, parts, strict=True):
            place[:] = part
        buffers = list(room if payload else room[1:])
        data = payload or room[0]
        relayed = RelayCall(id, "digest", call.entry.id, data, buffers, block=room)  # type: ignore[arg-type]
        sender.gate.submit(relayed)
        del room, buffers, place, data, relayed
        (outcome,) = await sender.ends.end_of(id)
        assert outcome.unwrap() == digest(*arguments)


async def test_a_shared_object_in_a_block_of_its_own_is_not_copied_again(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(os.urandom(3 << 20))
    shared = share(data)
    size = os.fstat(shared.fileno()).st_size
    block = FilledBlock([size], None)
    block[0][:] = os.pread(shared.fileno(), size, 0)
    monkeypatch.setattr(shared_memory, "copy_block", None)
    sender.gate.place(shared.token, shared.size, shared.table, block)
    del block
    monkeypatch.setattr(sender.gate, "place", lambda *args: None)
    sender.submit(1, digest_of_shared, shared)
    (outcome,) = await sender.ends.end_of(1)
    assert outcome.unwrap() == digest(data)
    sender.gate.drop(shared.token)
