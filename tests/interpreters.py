"""Other interpreters on this machine, for the tests that need one.

They are looked for in the list of paths `UNIFIED_EXEC_PYTHONS`, on PATH, and where pyenv and uv keep theirs. One that
is found needs nothing installed: what this package depends on is pure Python and is lent to it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "UNIFIED_EXEC_PYTHONS"
WANTED = ("3.11", "3.12", "3.13", "3.14", "3.15", "3.13t", "3.14t", "3.15t")
LENT = ("anyio", "cloudpickle", "idna", "typing_extensions")
ROOT = Path(__file__).parent.parent

_ASK = """
import json, platform, sys, sysconfig
free = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
print(json.dumps([platform.python_implementation(), "%d.%d" % sys.version_info[:2] + free, sys.executable]))
"""


@dataclass(frozen=True)
class Interpreter:
    """A CPython of another version; `version` ends in "t" if it was built without the GIL."""

    version: str
    executable: str
    lent: str

    def run(self, *args: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        """Run it with `args`; `unified_exec`, the tests and all they depend on at run time can be imported.

        Raises:
            subprocess.CalledProcessError: it did not end with 0; what it printed is in the error's notes.
        """
        own = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}  # others refuse it
        done = subprocess.run(
            [self.executable, *args],
            env={**own, "PYTHONPATH": os.pathsep.join([str(ROOT), self.lent]), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
            error.add_note(f"stdout:\n{done.stdout}\nstderr:\n{done.stderr}")
            raise error
        return done


def this_version() -> str:
    free = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f"{sys.version_info[0]}.{sys.version_info[1]}{free}"


def others() -> tuple[str, ...]:
    """The versions worth a look: all that are supported, but for the one the suite runs on."""
    return tuple(version for version in WANTED if version != this_version())


def find(lent: str) -> dict[str, Interpreter]:
    """All CPythons found whose version is wanted, the first of each version."""
    found: dict[str, Interpreter] = {}
    for path in _candidates():
        answer = _ask(path)
        if answer is not None and answer[0] == "CPython" and answer[1] in others():
            found.setdefault(answer[1], Interpreter(answer[1], answer[2], lent))
    return found


def lend(folder: Path) -> str:
    """Fill `folder` with links to the pure-Python dependencies, and nothing else that is installed here."""
    for name in LENT:
        spec = importlib.util.find_spec(name)
        assert spec is not None, name
        assert spec.origin is not None, name
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        try:
            (folder / source.name).symlink_to(source, target_is_directory=source.is_dir())
        except OSError:  # Windows, without the right to make links
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / source.name)
    return str(folder)


def _candidates() -> Iterable[str]:
    yield from filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
    for version in others():
        if on_path := shutil.which(f"python{version}"):
            yield on_path
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv"), "versions")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", home / ".local/share/uv/python"))
    for folder in (pyenv, uv):
        for path in sorted(folder.glob("*/bin/python3"), reverse=True):
            # The folder's name tells the version; do not start interpreters of the last century.
            if any(version.rstrip("t") in path.parts[-3] for version in WANTED):
                yield str(path)


def _ask(path: str) -> Sequence[str] | None:
    try:
        done = subprocess.run(
            [path, "-I", "-c", _ASK], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=True
        )
        answer: list[str] = json.loads(done.stdout)
        return answer
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
