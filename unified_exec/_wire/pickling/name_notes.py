"""Notes on the `NameError` of a task that touches a global which could not travel."""

from __future__ import annotations

from ..related_errors import with_related
from .homes import home_of


def add_to(error: BaseException) -> None:
    """Say, on each `NameError` in `error` and in what it came from, why the name is undefined in this process."""
    for exc in with_related(error):
        if isinstance(exc, NameError):
            note = _note_for(exc)
            if note is not None:
                exc.add_note(note)


def _note_for(error: NameError) -> str | None:
    step = error.__traceback__
    if step is None or not error.name:
        return None
    while step.tb_next is not None:
        step = step.tb_next
    home = home_of(step.tb_frame.f_globals)
    if home is None or error.name not in home.missing:
        return None
    why = home.missing[error.name]
    text = f"{error.name!r} is a global of {home.module.__name__} that is not there in a worker: {why}."
    if "ProcessPool(main=" in why:
        return text
    return (
        f"{text} Open it in each worker with a pool's initializer (with `global {error.name}` in it), or pass what the "
        "task needs as an argument."
    )
