"""The places where the tests of this folder have their work run."""

from __future__ import annotations

import pytest

from tests.scope.many import PLACES, Place


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]


@pytest.fixture(params=["thread", "process"])
def chunked(request: pytest.FixtureRequest) -> str:
    """The places where items may travel together."""
    on: str = request.param
    return on
