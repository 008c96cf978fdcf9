"""Law 1.8: no main guard, no second run of `__main__`; wherever code was typed, it can run in a process."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import textwrap
import zipapp
from pathlib import Path

import pytest

from tests.faults import programs
from tests.waiting import until

pytestmark = pytest.mark.one_loop

# Everything a user may define, at the top of a program without a main guard.
BODY = """
import functools, os
import anyio
from unified_exec import Collect, TaskScope

with open("ran", "a") as file:
    file.write("x")

OFFSET = 5

def plain(x):
    return x + OFFSET

def outer(n):
    def closure(x):
        return x + n
    return closure

class Thing:
    def __init__(self, n):
        self.n = n
    def method(self, x):
        return self.n + x
    def __call__(self, x):
        return -x
    @classmethod
    def make(cls, n):
        return cls(n)
    @staticmethod
    def stat(x):
        return x * 3

class Mine(Exception):
    seen = 0

def fail(x):
    Mine.seen += 1
    raise Mine("own", x)

async def coroutine(x):
    return x + OFFSET

async def main():
    async with TaskScope() as scope:
        spawn = lambda fn, *args: scope.spawn(fn, *args, on="process")
        handles = [spawn(plain, 1), spawn(lambda x: x * 2, 1), spawn(outer(10), 1),
                   spawn(functools.partial(plain), 2), spawn(Thing(100).method, 1), spawn(Thing(1), 7),
                   spawn(Thing.stat, 2), spawn(coroutine, 3)]
        print([await handle for handle in handles])
        thing = await spawn(Thing.make, 5)
        print(type(thing) is Thing, thing.n)
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(fail, 1, on="process")
    try:
        handle.result()
    except Mine as error:
        print("caught", error.args, Mine.seen)
    print(open("ran").read())

"""
EXPECTED = ["[6, 2, 11, 7, 101, -7, 6, 8]", "True 5", "caught ('own', 1) 0", "x"]
RUN = {
    "asyncio": 'anyio.run(main, backend="asyncio")\n',
    "uvloop": 'anyio.run(main, backend="asyncio", backend_options={"use_uvloop": True})\n',
    "trio": 'anyio.run(main, backend="trio")\n',
}


@pytest.mark.parametrize("loop", RUN)
def test_a_script_needs_no_main_guard_and_runs_once(loop: str, tmp_path: Path) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    assert programs.run_script(tmp_path, BODY + RUN[loop]).check().lines == EXPECTED


def test_a_command_line_needs_no_main_guard(tmp_path: Path) -> None:
    assert programs.run("-c", BODY + RUN["asyncio"], cwd=tmp_path).check().lines == EXPECTED


def test_a_program_from_a_pipe_needs_no_main_guard(tmp_path: Path) -> None:
    assert programs.run("-", stdin=BODY + RUN["asyncio"], cwd=tmp_path).check().lines == EXPECTED


def test_a_module_run_with_m_needs_no_main_guard(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "sibling.py").write_text("def far(x):\n    return x - 1\n")
    (tmp_path / "package" / "__main__.py").write_text(
        "from .sibling import far\n" + BODY.replace("plain, 1", "far, 7") + RUN["asyncio"]
    )
    assert programs.run("-m", "package", cwd=tmp_path).check().lines == EXPECTED


def test_a_script_finds_the_modules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def far(x):\n    return x - 1\n")
    (tmp_path / "elsewhere").mkdir()
    text = """
        import anyio, beside
        from unified_exec import call

        async def main():
            print(await call(beside.far, 1, on="process"))

        anyio.run(main)
    """
    assert programs.run_script(tmp_path, text, cwd=tmp_path / "elsewhere").check().lines == ["0"]


def test_a_zipapp_needs_no_main_guard(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "__main__.py").write_text("import inner\n" + BODY.replace("plain, 1", "inner.plain, 1") + RUN["asyncio"])
    (source / "inner.py").write_text("def plain(x):\n    return x + 5\n")
    zipapp.create_archive(source, tmp_path / "app.pyz")
    assert programs.run(str(tmp_path / "app.pyz"), cwd=tmp_path).check().lines == EXPECTED


def test_a_program_whose_folder_was_removed_works(tmp_path: Path) -> None:
    text = """
        import os, sys
        os.mkdir("gone")
        os.chdir("gone")
        os.rmdir("../gone")
        sys.path.insert(0, "")
        import anyio
        from unified_exec import call

        async def main():
            print(await call(lambda: 5, on="process"))

        anyio.run(main)
    """
    assert programs.run_script(tmp_path, text).check().lines == ["5"]


def test_a_notebook_cell_works(tmp_path: Path) -> None:
    text = f"""
        import sys, types
        body, run = {BODY!r}, {RUN["asyncio"]!r}
        module = types.ModuleType("__main__")  # what a kernel makes of itself
        sys.modules["__main__"] = module
        exec(compile(body, "<ipython-input-1>", "exec"), vars(module))
        exec(compile(run, "<ipython-input-2>", "exec"), vars(module))
        # A cell is run again with a changed definition: the new one counts.
        exec("OFFSET = 6\\nopen('ran', 'w').close()", vars(module))
        exec("class Mine(Exception):\\n    seen = 0", vars(module))
        exec(compile(run, "<ipython-input-3>", "exec"), vars(module))
    """
    second = ["[7, 2, 11, 8, 101, -7, 6, 9]", "True 5", "caught ('own', 1) 0", ""]
    assert programs.run_script(tmp_path, text).check().lines == EXPECTED + second


def test_ipython_works(tmp_path: Path) -> None:
    cell = "import anyio\nfrom unified_exec import call\ndef typed(x): return x * 2\nclass Mine(Exception): pass\n"
    cell += "def fail(): raise Mine(1)\n"
    check = "print(await call(typed, 4, on='process'))\n"
    caught = "try:\n    await call(fail, on='process')\nexcept Mine as error:\n    print('caught', error.args)\n"
    text = f"""
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance(history_load_length=0)
        for cell in ({cell!r}, {check!r}, {caught!r}):
            shell.run_cell(cell).raise_error()
    """
    ended = programs.run_script(tmp_path, text, HOME=str(tmp_path), IPYTHONDIR=str(tmp_path / "ipython"))
    assert (ended.code, ended.left) == (0, []), ended
    assert ended.lines == ["8", "caught (1,)"]


def test_an_interactive_session_at_a_terminal_works(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-i", "-q"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=tmp_path,
        env=programs.environment(PYTHON_BASIC_REPL="1", TERM="dumb"),
        start_new_session=True,
    )
    os.close(slave)
    seen = ""
    try:
        lines = [
            "import anyio",
            "from unified_exec import call",
            "def typed(x): return x * 2",
            "",
            "async def main(): return await call(typed, 21, on='process')",
            "",
            "print('result', anyio.run(main))",
            "def typed(x): return x * 3",
            "",
            "print('second', anyio.run(main))",
            "exit()",
        ]
        os.write(master, ("\n".join(lines) + "\n").encode())

        def ended() -> bool:
            nonlocal seen
            while select.select([master], [], [], 0)[0]:
                try:
                    data = os.read(master, 4096)
                except OSError:  # the last holder of the other end is gone
                    break
                if not data:
                    break
                seen += data.decode()
            return process.poll() is not None

        assert until(ended, 30), seen
        assert process.returncode == 0, seen
        assert "result 42" in seen, seen
        assert "second 63" in seen, seen
        assert programs.left_by(process.pid) == []
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_an_editable_install_in_a_virtual_environment_is_found(tmp_path: Path) -> None:
    """Both ways an editable install works: a path in a .pth file, and a finder a .pth file installs."""
    import venv

    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    for name in ("by_path", "by_finder"):
        (tmp_path / "src" / name).mkdir(parents=True)
        (tmp_path / "src" / name / f"{name}.py").write_text("def far(x):\n    return x + 1\n")
    (site / "by_path.pth").write_text(str(tmp_path / "src" / "by_path") + "\n")
    (site / "__editable___by_finder_finder.py").write_text(
        textwrap.dedent(f"""
            import importlib.util, sys

            class Finder:
                @classmethod
                def find_spec(cls, name, path=None, target=None):
                    if name == "by_finder":
                        where = {str(tmp_path)!r} + "/src/by_finder/by_finder.py"
                        return importlib.util.spec_from_file_location(name, where)

            def install():
                sys.meta_path.append(Finder)
        """)
    )
    (site / "__editable__.by_finder.pth").write_text(
        "import __editable___by_finder_finder; __editable___by_finder_finder.install()\n"
    )
    (site / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")) + "\n")
    text = """
        import sys
        import anyio, by_path, by_finder
        from unified_exec import TaskScope

        async def main():
            async with TaskScope() as scope:
                print(await scope.spawn(by_path.far, 1, on="process"))
                print(await scope.spawn(by_finder.far, 1, on="process"))
                print(await scope.spawn(lambda: sys.prefix, on="process") == sys.prefix)

        anyio.run(main)
    """
    ended = programs.run_script(tmp_path, text, python=str(python))
    assert ended.check().lines == ["2", "2", "True"]


def test_nothing_is_left_in_shared_memory_in_temporary_folders_or_listening(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    text = """
        import os
        os.dup2(os.open("/dev/null", os.O_RDONLY), 50)  # inherited by whatever is started
        import anyio
        from unified_exec import TaskScope

        def sockets(pid):
            mine = set()
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    mine.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
                except FileNotFoundError:
                    pass  # the folder itself
            found = []
            for table in ("tcp", "tcp6", "udp", "udp6"):
                for line in open(f"/proc/{pid}/net/{table}").readlines()[1:]:
                    if f"socket:[{line.split()[9]}]" in mine:
                        found.append(line)
            for line in open(f"/proc/{pid}/net/unix").readlines()[1:]:
                fields = line.split()
                if f"socket:[{fields[6]}]" in mine and (len(fields) > 7 or int(fields[3], 16) & 0x10000):
                    found.append(line)
            return found

        def named_memory():
            return [line for line in open("/proc/self/maps") if "/dev/shm/" in line]

        def look():
            return sockets(os.getpid()) + named_memory(), sorted(int(fd) for fd in os.listdir("/proc/self/fd"))

        async def main():
            async with TaskScope() as scope:
                for _ in range(3):
                    assert len(await scope.spawn(bytes, 3_000_000, on="process")) == 3_000_000
                found, fds = await scope.spawn(look, on="process")
                # The socket for viewers has lost its name: nobody can connect to it by one.
                print(found, [line for line in sockets(os.getpid()) if os.path.exists(line.split()[-1])])
                print([fd for fd in fds if fd > 6])
                print(named_memory())

        anyio.run(main)
    """
    ended = programs.run_script(tmp_path, text, TMPDIR=str(tmp_path / "tmp"))
    lines = ended.check().lines
    assert lines[0] == "[] []"
    assert lines[1] in ("[7]", "[7, 8]")  # the folder that tasks are brought back to, and the one it was reading
    assert lines[2] == "[]"
    assert list((tmp_path / "tmp").iterdir()) == []
