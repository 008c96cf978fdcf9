"""Which files the demonstration takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from unified_exec.cli.demo.corpus import choose, standard_library


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "lib"
    for path in ("a.py", "b.py", "json/c.py", "json/tests/d.py", "test/e.py", "site-packages/f.py", "g.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x = 1\n")
    (tmp_path / "outside.py").write_bytes(b"")
    (root / "linked.py").symlink_to(tmp_path / "outside.py")
    (root / "broken.py").symlink_to(tmp_path / "missing.py")
    return root


def test_it_takes_source_but_no_tests_no_other_packages_and_nothing_from_outside(root: Path) -> None:
    assert choose(root) == (root, ("a.py", "b.py", "json/c.py"), 18)


def test_it_takes_tests_when_told(root: Path) -> None:
    assert choose(root, with_tests=True).paths == ("a.py", "b.py", "json/c.py", "json/tests/d.py", "test/e.py")


@pytest.mark.parametrize(
    ("limit", "paths"),
    [
        (1, ("a.py",)),
        (2, ("a.py", "json/c.py")),
        (3, ("a.py", "b.py", "json/tests/d.py")),
        (5, ("a.py", "b.py", "json/c.py", "json/tests/d.py", "test/e.py")),
        (9, ("a.py", "b.py", "json/c.py", "json/tests/d.py", "test/e.py")),
    ],
)
def test_a_limit_picks_evenly(root: Path, limit: int, paths: tuple[str, ...]) -> None:
    assert choose(root, limit, with_tests=True).paths == paths


def test_a_python_without_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no Python source"):
        choose(tmp_path)


def test_the_standard_library_is_there() -> None:
    found = standard_library()
    assert {"argparse.py", "json/decoder.py"} <= set(found.paths)
    assert not any(path.startswith(("test/", "site-packages/")) for path in found.paths)
    assert len(found.paths) > 400
    assert found.size > 5_000_000
