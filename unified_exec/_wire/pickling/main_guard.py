"""Whether a program's main file may be executed a second time, as a module."""

from __future__ import annotations

__all__ = ["has_guard", "need_guard"]


def has_guard(path: str) -> bool:
    """Tell whether the file has an ``if __name__ == "__main__":``; True for a file that cannot be read."""
    import ast

    try:
        with open(path, "rb") as file:
            module = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):  # a folder or a zip file with a __main__.py
        return True
    for node in module.body:
        if isinstance(node, ast.If):
            test = ast.dump(node.test)
            if "'__name__'" in test and "'__main__'" in test:
                return True
    return False


def need_guard(path: str) -> None:
    """Refuse a nested spawn of multiprocessing that would run a program without a main guard.

    Raises:
        RuntimeError: `path` has none.
    """
    if not has_guard(path):
        raise RuntimeError(
            f"multiprocessing, called inside a task, would run {path} again in its child, and that has no "
            "`if __name__ == \"__main__\":`: add the guard, move the function to a module, use the start method 'fork' "
            "or open a TaskScope in the task instead"
        )
