"""The places where the tests of this folder have their work run."""

from __future__ import annotations

import pytest

from tests.scope.many import PLACES, Place

# A worker does not know the event loop of its scope.
ONE_LOOP = [pytest.param(name, marks=pytest.mark.one_loop) for name in ("process", "process-coroutine")]


@pytest.fixture(params=["loop", "thread", *ONE_LOOP])
def place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]


@pytest.fixture(params=["thread", ONE_LOOP[0]])
def chunked(request: pytest.FixtureRequest) -> str:
    """The places where items may travel together."""
    on: str = request.param
    return on
