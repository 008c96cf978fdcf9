"""The models of concurrency: each is a recipe, the code that its user would write."""

from __future__ import annotations

from .model import Kind, Model
from .peers import PEERS
from .stdlib import STDLIB
from .task_scope import SCOPES

__all__ = ["MODELS", "PEERS", "Kind", "Model", "by_key"]

MODELS: tuple[Model, ...] = (*STDLIB, *SCOPES)
"""The standard library's and this package's own, in the order of the tables."""


def by_key(key: str) -> Model:
    return next(model for model in (*MODELS, *PEERS) if model.key == key)
