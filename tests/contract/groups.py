"""What is in an exception group."""

from __future__ import annotations


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group and its groups, in their order."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]
