"""The metrics of the demonstration, on sources counted by hand."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from unified_exec.cli.demo.metrics import FileMetrics, FunctionMetrics, measure


def measured(source: str) -> FileMetrics:
    return measure("known.py", textwrap.dedent(source).encode())


def complexity(body: str) -> int:
    """The complexity of a function with this body."""
    (function,) = measured("def f(x):\n" + textwrap.indent(textwrap.dedent(body), "    ")).functions
    return function.complexity


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return x", 1),
        ("if x: pass", 2),
        ("if x: pass\nelse: pass", 2),
        ("if x: pass\nelif x > 1: pass\nelif x > 2: pass\nelse: pass", 4),
        ("return 1 if x else 2", 2),
        ("for i in x: pass\nelse: pass", 2),
        ("while x: x -= 1", 2),
        ("try: x()\nexcept ValueError: pass\nexcept OSError: pass\nfinally: pass", 3),
        ("try: x()\nexcept* ValueError: pass", 2),
        ("return x and 1", 2),
        ("return x and 1 and 2 or 3", 4),
        ("return [i for i in x]", 2),
        ("return {i: j for i in x if i if i > 1 for j in i}", 5),
        ("match x:\n    case 1: pass\n    case 2 | 3: pass\n    case _: pass", 3),
        ("match x:\n    case [a, b]: pass\n    case other: pass", 2),
        ("match x:\n    case other if other > 1: pass", 2),
        ("with x: pass\nassert x\nreturn lambda y: y", 1),
        ("return lambda y: 1 if y else 2", 2),
    ],
)
def test_complexity_is_one_and_the_branches(body: str, expected: int) -> None:
    assert complexity(body) == expected


def test_a_file_is_counted_whole() -> None:
    assert measured(
        """\
        import sys

        if sys.platform == "win32" or not sys.argv:
            pass


        class Parser:
            tables = [x for x in "ab"]

            @property
            def parse(self):
                def inner(y):
                    while y:
                        y -= 1

                for token in self:
                    if token:
                        inner(token)
                return None

            async def feed(self, data):
                async for x in data:
                    pass
        """
    ) == FileMetrics(
        path="known.py",
        size=392,
        lines=23,
        branches=3 + 1 + 2 + 1,  # the module and the class body, inner, parse, feed
        functions=(
            FunctionMetrics("Parser.parse", line=11, length=9, complexity=3),
            FunctionMetrics("Parser.parse.inner", line=12, length=3, complexity=2),
            FunctionMetrics("Parser.feed", line=21, length=3, complexity=2),
        ),
    )


@pytest.mark.parametrize(("source", "lines"), [(b"", 0), (b"x", 1), (b"x\n", 1), (b"x\ny", 2), (b"\n\n", 2)])
def test_lines_are_counted_as_an_editor_does(source: bytes, lines: int) -> None:
    assert measure("a.py", source).lines == lines


@pytest.mark.parametrize("source", [b"def f(:\n", b"\0", b"# coding: no-such-codec\n", b"\xff = 1\n", b"(" * 5000])
def test_a_file_that_does_not_parse_is_reported_and_raises_nothing(source: bytes) -> None:
    found = measure("bad.py", source)
    assert found.error is not None
    assert (found.size, found.functions) == (len(source), ())


def test_a_declared_encoding_is_obeyed() -> None:
    found = measure("latin.py", "# coding: latin-1\ndef é(): pass\n".encode("latin-1"))
    assert [function.name for function in found.functions] == ["é"]


def test_warnings_in_the_source_stay_out_of_sight() -> None:
    assert measure("odd.py", b"x = '\\d'\n1 is 1\n").error is None  # warnings are errors in this suite


def test_a_very_deep_tree_is_no_problem() -> None:
    found = measure("deep.py", b"def f(x):\n return " + b" + ".join([b"x"] * 3000) + b"\n")
    assert found.error is not None or [function.complexity for function in found.functions] == [1]


def test_what_the_workers_import_is_the_standard_library_alone() -> None:
    check = (
        "import sys; before = {name.partition('.')[0] for name in sys.modules}; import unified_exec.cli.demo.metrics; "
        "print({name.partition('.')[0] for name in sys.modules} - before - set(sys.stdlib_module_names))"
    )
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "{'unified_exec'}"
