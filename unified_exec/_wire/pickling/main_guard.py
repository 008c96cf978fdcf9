"""Whether a program's main file may be executed a second time, as a module."""

from __future__ import annotations

__all__ = ["has_guard"]


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
