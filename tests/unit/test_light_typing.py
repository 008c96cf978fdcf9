"""The stand-ins for `typing` do what workers need of it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from tests.unit.wire_child import ROOT
from unified_exec._tasks import light_typing
from unified_exec._worker import main

Base: Any = light_typing.NamedTuple


class Point(Base):
    """A place."""

    x: int
    y: int = 2

    @property
    def total(self) -> int:
        return self.x + self.y


class Nothing(Base):
    """It has no fields."""


def test_a_named_tuple_is_one() -> None:
    point = Point(1)
    assert point == (1, 2)
    assert (point.x, point.y, point.total, point._replace(x=5)) == (1, 2, 3, (5, 2))
    assert (Point._fields, Point.__doc__, Nothing()) == (("x", "y"), "A place.", ())
    assert pickle.loads(pickle.dumps(point)) == point
    assert Point.__module__ == __name__
    with pytest.raises(TypeError):
        Point()


def test_a_worker_does_not_load_typing_nor_what_evaluates_annotations() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import unified_exec._worker.main\n"
        "print([name for name in ('annotationlib', 'ast', 'typing') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done


def test_what_tells_where_a_worker_is_loads_no_other_module() -> None:
    """It is loaded in a signal handler, perhaps in the midst of the import of the very module that it needs."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import unified_exec._worker.main\n"
        "before = set(sys.modules)\n"
        "import unified_exec._worker.where\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if not name.startswith(("unified_exec._", "_json"))] == []


def test_a_question_in_the_midst_of_an_import_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "unified_exec._worker.where", None)  # its import fails
    signal: Any = None
    main.on_where(signal, signal)(b"", [])


def test_a_question_while_an_import_takes_the_lock_of_its_module_does_it_no_harm() -> None:
    code = f"""if True:
        import sys; sys.path.insert(0, {str(ROOT)!r})
        from unified_exec._worker import main
        answer = main.on_where(None, None)

        def ask(frame, event, arg):
            if frame.f_code.co_qualname == "_ModuleLock.acquire":
                answer(b"", [])
                return ask

        sys.settrace(ask)
        import tabnanny
        sys.settrace(None)
        answer(b"", [])
        print("unified_exec._worker.where" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True\n", "")
