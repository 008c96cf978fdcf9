"""Law 1.8: stdout and stderr stay the user's, whoever writes to them and whatever became of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import programs

PRINTING = """
    import ctypes, os, sys
    import anyio
    from unified_exec import TaskScope

    def from_c():
        ctypes.CDLL(None).puts(b"from C")
        ctypes.CDLL(None).fflush(None)
        os.write(1, b"from write\\n")
        return "answer"

    def from_python(n):
        print("line", n, end="")
        print(".")

    def to_stderr():
        sys.stderr.write("an error")

    async def main():
        print("before", flush=True)
        async with TaskScope() as scope:
            print(await scope.spawn(from_c, on="process"), flush=True)
            for n in range(5):
                await scope.spawn(from_python, n, on="process")
                print("after", n, flush=True)
            await scope.spawn(to_stderr, on="process")

    anyio.run(main, backend={backend!r})
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_tasks_print_goes_to_the_programs_own_streams_before_their_answer(backend: str, tmp_path: Path) -> None:
    ended = programs.run_script(tmp_path, PRINTING.replace("{backend!r}", repr(backend)))
    assert (ended.code, ended.err, ended.left) == (0, "an error", [])
    expected = ["before", "from C", "from write", "answer"]
    for n in range(5):
        expected += [f"line {n}.", f"after {n}"]
    assert ended.lines == expected


def test_a_program_whose_streams_are_closed_works(tmp_path: Path) -> None:
    text = """
        import os
        for fd in (0, 1, 2):
            os.close(fd)
        import anyio
        from unified_exec import TaskScope

        def work(n):
            import ctypes
            ctypes.CDLL(None).puts(b"nowhere")
            ctypes.CDLL(None).fflush(None)
            return os.urandom(n)

        async def main():
            async with TaskScope() as scope:
                for n in (10, 100_000):
                    assert len(await scope.spawn(work, n, on="process")) == n
            with open("done", "w") as file:
                file.write("well")

        anyio.run(main)
    """
    ended = programs.run_script(tmp_path, text)
    assert (ended.code, ended.left) == (0, [])
    assert (tmp_path / "done").read_text() == "well"
