"""The models of concurrency: each is a recipe, the code its user would write."""

from __future__ import annotations

from .base import Kind, Model
from .peers import PEERS
from .scopes import SCOPES
from .stdlib import STDLIB

__all__ = ["MODELS", "PEERS", "Kind", "Model", "by_key"]

MODELS: tuple[Model, ...] = (*STDLIB, *SCOPES)
"""The standard library's and this package's own, in the order of the tables."""


def by_key(key: str) -> Model:
    """Return the model of that key."""
    return next(model for model in (*MODELS, *PEERS) if model.key == key)
