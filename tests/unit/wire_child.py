"""A real second interpreter behind two pipes, with nothing in it but `unified_exec._wire`."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from unified_exec._wire.errors.decode import decode_error
from unified_exec._wire.errors.encode import encode_error
from unified_exec._wire.pickling import codec, function_table, functions, globals_sent, module_names, name_notes

ROOT = Path(__file__).resolve().parents[2]
_BOOT = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.unit.wire_child import serve; serve()"


class Child:
    """Runs calls in its own process, one after another; a nested one works the same inside a call."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
        )
        self._learnt: set[int] = set()
        self._homes: set[str] = set()
        self.sent: list[int] = []

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Return what ``fn(*args)`` returns over there, or raise what it raises."""
        return self.answer(functions.encode_call(fn, args))

    def answer(self, call: functions.EncodedCall, refused: bool = False) -> Any:
        """Send a call that is encoded already, with its function if it is new over there; `refused`, only that."""
        assert self._process.stdin
        assert self._process.stdout
        entry = call.entry
        function = b"" if entry.volatile or entry.id in self._learnt else entry.payload
        self._learnt.add(entry.id)
        needed = [
            one
            for one in (*entry.needs, *call.needs)
            if one.id not in self._learnt or (one.is_replaced and one.is_definition)
        ]
        self._learnt.update(needed.id for needed in needed)
        function = globals_sent.message(needed, function, None, self._homes, None)
        self.sent.append(entry.id)
        head = b"%d%s" % (entry.id, b" refused" * refused)
        _write(self._process.stdin, head, function, call.data, *call.buffers)
        kind, data, *buffers = _read(self._process.stdout)
        if kind == b"error":
            raise decode_error(data)
        return codec.decode(data, [memoryview(bytearray(buffer)) for buffer in buffers])


def serve() -> None:
    """The other side, until its stdin ends."""
    out = open(1, "wb", closefd=False)
    learnt = function_table.FunctionTable()
    module_names.in_worker = True
    while True:
        message = _read(sys.stdin.buffer)
        if not message:
            return
        _write(out, *_answer(learnt, *message))


def _answer(
    learnt: function_table.FunctionTable, head: bytes, function: bytes, data: bytes, *buffers: bytes
) -> list[Any]:
    try:
        id, *refused = head.split()
        function = learnt.learn_globals(function)
        if function:
            learnt.learn(int(id), function)
        if refused:
            return [b"value", codec.encode_value(None).data]
        shared = [memoryview(bytearray(buffer)) for buffer in buffers]
        fn, args = function_table.decode_call(learnt, int(id), data, shared)
        packed = codec.encode_value(fn(*args))
    except BaseException as error:
        name_notes.add_to(error)
        return [b"error", encode_error(error, skip_frames=1)]
    return [b"value", packed.data, *packed.buffers]


def _write(stream: BinaryIO | Any, *parts: Any) -> None:
    sizes = [memoryview(part).nbytes for part in parts]
    stream.write(struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes))
    for part in parts:
        stream.write(part)
    stream.flush()


def _read(stream: BinaryIO | Any) -> list[bytes]:
    head = stream.read(4)
    if not head:
        return []
    count = struct.unpack("<I", head)[0]
    sizes = struct.unpack(f"<{count}Q", stream.read(8 * count))
    return [stream.read(size) for size in sizes]


def run_script(text: str, tmp_path: Path, *, command: bool = False) -> str:
    """Run `text` as ``__main__`` of a fresh interpreter, as a file or with ``-c``; return what it printed."""
    head = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom tests.unit.wire_child import Child\n"
    if command:
        argv = [sys.executable, "-c", head + text]
    else:
        script = tmp_path / "script.py"
        script.write_text(head + text)
        argv = [sys.executable, str(script)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _boot_is_long() -> bool:
    return len(_BOOT) > 1
