"""`unified-exec advise`: what is run, and what is said."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import anyio

import unified_exec
from unified_exec import cpu_count, shutdown_default_pools

from ...observe.watchdog import LOGGER
from .. import endings
from .facts import Facts, as_json
from .measure import Measuring, RunFailed
from .plan import in_words, plan
from .render import render
from .target import BadTarget, load
from .verdict import advise


def run(arguments: argparse.Namespace) -> int:
    """Measure the function and print the advice; 1 if the function raised, 2 if it could not be called."""
    with endings.ending_like_ctrl_c() as ending:
        try:
            facts = _measured(arguments)
        except BaseException as error:
            if endings.tells_of(error, KeyboardInterrupt):
                print("unified_exec advise: interrupted; nothing is advised", file=sys.stderr)
                return ending.exit_code
            raise
    if isinstance(facts, int):
        return facts
    advice = advise(facts)
    if arguments.json:
        print(json.dumps(as_json(facts, advice), indent=2))
    else:
        render(facts, advice)
    return 0


def _measured(arguments: argparse.Namespace) -> Facts | int:
    logging.getLogger(LOGGER).disabled = True  # what the watchdog sees is in the report
    with _only_the_report_on_stdout():
        try:
            call = load(arguments.function, arguments.args, arguments.kwargs, arguments.setup)
            steps = plan(call.is_async, arguments.runs, cpu_count())
            print(in_words(call.name, steps), file=sys.stderr, flush=True)
            session = Measuring(call, arguments.runs, arguments.longest)
            return anyio.run(session.run, steps, backend=arguments.backend)
        except BaseException as error:
            known = _known(error)
            if known is None:
                raise
            if isinstance(known, BadTarget):
                print(f"unified_exec advise: {known}", file=sys.stderr)
                return 2
            traceback.print_exception(known.error.with_traceback(_from_the_users(known.error.__traceback__)))
            print(f"unified_exec advise: {known}; nothing is advised", file=sys.stderr)
            return 1
        finally:
            shutdown_default_pools()


def _known(error: BaseException) -> RunFailed | BadTarget | None:
    """What ended the session, out of whatever groups it is in; ``None`` if it is a fault of our own."""
    if isinstance(error, (RunFailed, BadTarget)):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _known(inner)) is not None), None)
    return None


def _from_the_users(tb: TracebackType | None) -> TracebackType | None:
    """The traceback without our own lines at its outer end."""
    package = os.path.dirname(unified_exec.__file__)
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(package):
        tb = tb.tb_next
    return tb


@contextmanager
def _only_the_report_on_stdout() -> Iterator[None]:
    """What the function prints, in whatever process, goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
