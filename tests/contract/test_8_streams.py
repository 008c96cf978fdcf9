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

    async def from_a_coroutine(n):
        from_python(n)

    def to_stderr():
        sys.stderr.write("an error")

    async def main():
        print("before", flush=True)
        async with TaskScope() as scope:
            print(await scope.spawn(from_c, on="process"), flush=True)
            for fn in (from_python, from_a_coroutine):
                for n in range(5):
                    await scope.spawn(fn, n, on="process")
                    print("after", n, flush=True)
            await scope.spawn(to_stderr, on="process")

    anyio.run(main, backend={backend!r})
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_tasks_print_goes_to_the_programs_own_streams_before_their_answer(backend: str, tmp_path: Path) -> None:
    ended = programs.run_script(tmp_path, PRINTING.replace("{backend!r}", repr(backend)))
    assert (ended.code, ended.err, ended.left) == (0, "an error", [])
    expected = ["before", "from C", "from write", "answer"]
    for n in (*range(5), *range(5)):
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


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_stdin_of_a_task_is_empty_and_the_programs_own_stays_whole(kind: str, tmp_path: Path) -> None:
    text = """
        import os, sys
        import anyio
        from unified_exec import TaskScope

        def plain():
            try:
                return input()
            except EOFError:
                return sys.stdin.read(), os.read(0, 10)

        async def coroutine():
            return plain()

        async def main():
            async with TaskScope() as scope:
                print(await scope.spawn(KIND, on="process"))

        anyio.run(main)
        print(input(), input())
    """.replace("KIND", kind)
    ended = programs.run_script(tmp_path, text, stdin="for the\nprogram\n")
    assert ended.check().lines == ["('', b'')", "for the program"]
