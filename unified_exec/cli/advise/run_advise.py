"""`unified_exec advise`: measure a function, print the advice."""

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
from ..interrupts import contains, signals_as_ctrl_c
from .facts import Facts, as_json
from .in_interpreter import has_interpreters
from .measure_function import FunctionMeasurement, RunFailed
from .print_advice import print_advice
from .run_plan import in_words, plan
from .target_function import BadTarget, load
from .verdict import advise


def run(arguments: argparse.Namespace) -> int:
    """Measure the function and print the advice; 1 if the function raised, 2 if it could not be called."""
    with signals_as_ctrl_c() as interruption:
        try:
            facts = _measured(arguments)
        except BaseException as error:
            if contains(error, KeyboardInterrupt):
                print("unified_exec advise: interrupted; no advice", file=sys.stderr)
                return interruption.exit_code
            raise
    if isinstance(facts, int):
        return facts
    advice = advise(facts)
    if arguments.json:
        print(json.dumps(as_json(facts, advice), indent=2))
    else:
        print_advice(facts, advice)
    return 0


def _measured(arguments: argparse.Namespace) -> Facts | int:
    logging.getLogger(LOGGER).disabled = True  # the report contains what the watchdog finds
    with _stdout_to_stderr():
        try:
            call = load(arguments.function, arguments.args, arguments.kwargs, arguments.setup)
            steps = plan(call.is_async, arguments.runs, cpu_count(), has_interpreters())
            print(in_words(call.name, steps), file=sys.stderr, flush=True)
            session = FunctionMeasurement(call, arguments.runs, arguments.longest)
            return anyio.run(session.run, steps, backend=arguments.backend)
        except BaseException as error:
            known = _known(error)
            if known is None:
                raise
            if isinstance(known, BadTarget):
                print(f"unified_exec advise: {known}", file=sys.stderr)
                return 2
            traceback.print_exception(known.error.with_traceback(_users_part(known.error.__traceback__)))
            print(f"unified_exec advise: {known}; no advice", file=sys.stderr)
            return 1
        finally:
            shutdown_default_pools()


def _known(error: BaseException) -> RunFailed | BadTarget | None:
    """Return the expected error, taken out of any groups; ``None`` if the error is a bug of this package."""
    if isinstance(error, (RunFailed, BadTarget)):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _known(inner)) is not None), None)
    return None


def _users_part(tb: TracebackType | None) -> TracebackType | None:
    """Return the traceback without this package's frames at its outer end."""
    package = os.path.dirname(unified_exec.__file__)
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(package):
        tb = tb.tb_next
    return tb


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Redirect what the function prints, in any process, to stderr: stdout carries only the report."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
