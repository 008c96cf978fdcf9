"""Clause 8: what a task leaves in its worker's process, a fork in a task, and the end of a worker."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

LEFT = "test_8_nothing_left.py"
NOTHING = f"{LEFT}::test_a_task_leaves_nothing_to_the_next_one"
RETIRES = f"{LEFT}::test_a_worker_that_cannot_be_restored_answers_and_retires"
END = "test_8_end_of_the_program.py"
STATE = "_worker/process_state.py"
NOTED = "_worker/noted_calls.py"
SENT = "_worker/send_result.py"


def left(breaks: str, old: str, new: str, *tests: str, file: str = STATE, place: str = "process") -> Mutant:
    """A mutant of what is restored."""
    return Mutant(clause=8, place=place, breaks=breaks, file=file, old=old, new=new, tests=tests or (NOTHING,))


ENDS = (
    left("timers are stopped", "                setitimer(timer, 0)\n", "                pass\n"),
    left("handlers are restored", "                    set_handler(number, handler)\n", "                    pass\n"),
    left(
        "signals are unblocked",
        "        pthread_sigmask(_signal.SIG_SETMASK, self._blocked)\n",
        "        pass\n",
    ),
    left("a pending signal is thrown away", "set_handler(number, _signal.SIG_IGN)  #", "pass  #"),
    left(
        "the umask is restored",
        "        umask(self._umask)\n        if not self._may_be_other",
        "        if not self._may_be_other",
    ),
    left("the recursion limit is restored", "            setrecursionlimit(self._recursion)\n", "            pass\n"),
    left("closed streams are opened", "            self._reopen()\n", "            pass\n"),
    left(
        "what imports need is put back",
        "                    entries.insert(place, entry)\n",
        "                    pass\n",
    ),
    left("trace functions are removed", "            settrace(self._trace)\n", "            pass\n"),
    left(
        "the initializer's state is the measure",
        "                setitimer(timer, interval, interval)\n",
        "                pass\n",
        f"{LEFT}::test_the_measure_is_what_the_initializer_left",
    ),
    left(
        "lowered limits cost the worker",
        '        return "resource" not in _modules or self._limits_are_the_same()',
        "        return True",
        RETIRES,
    ),
    left("an import of `resource` is noted", 'for name in ("faulthandler", "resource"):', "for name in ():", RETIRES),
    left(
        "a closed mailbox costs the worker",
        "        get_blocking(CONTROL_FD)  # raises if it was closed\n",
        "",
        RETIRES,
    ),
    left("a closed lifeline costs the worker", "        get_blocking(LIFELINE_FD)\n", "", RETIRES),
    left(
        "what C code changes is found",
        "                if now < self._look_at:\n                    return True\n",
        "                return True\n",
        f"{LEFT}::test_what_c_code_changes_is_found_after_a_task_of_some_milliseconds",
    ),
    left(
        "a limit lowered by a function from before costs the worker",
        "alone = alone and sys.getrefcount(fn) <= _OF_MODULE",
        "alone = True",
        RETIRES,
        file=NOTED,
    ),
    left("calls of the collector's switch are noted", "note_calls(gc, ", "note_calls(gc, []) or (", file=NOTED),
    left(
        "the watchdog of a task is stopped",
        '            _modules["faulthandler"].cancel_dump_traceback_later()\n',
        "            pass\n",
        f"{LEFT}::test_the_watchdog_of_a_task_does_not_end_the_next",
    ),
    left("closed output is noted", "        changes.made = True  # it was closed\n", "        pass\n", file=SENT),
    left(
        "coroutines leave nothing either",
        "        if not self.running and not self.process.restore(finished):\n            self.leave()\n",
        "",
        file="_worker/run_coroutines.py",
        place="process-coroutine",
    ),
    left(
        "only the worker answers a task that forks",
        "        if forked.happened:\n            forked.end(error)\n",
        "",
        f"{LEFT}::test_only_the_worker_answers_a_task_that_forks",
        file="_worker/run_calls.py",
    ),
    left(
        "only the worker answers a chunk with a fork",
        "            if forked.happened:\n                forked.end(None)\n        except Cancelled:",
        "        except Cancelled:",
        f"{LEFT}::test_only_the_worker_answers_a_chunk_with_a_fork",
        file="_worker/run_chunk.py",
    ),
    left(
        "a forked child takes no part in the event loop",
        '            getattr(loop, "_ready", deque()).clear()',
        "            deque()",
        f"{LEFT}::test_a_forked_child_takes_no_part_in_its_workers_event_loop",
        file="_worker/run_coroutines.py",
        place="process-coroutine",
    ),
    left(
        "a process forked in an executor's call ends well",
        "        call.state = ENDED  # here",
        "        pass  # here",
        f"{LEFT}::test_a_process_forked_in_the_call_of_an_executor_ends_well",
        file="_pools/thread/call.py",
        place="thread",
    ),
    left(
        "idle workers run their atexit functions at the end of the program",
        "    worker.dismiss()\n\n\n@atexit.register",
        "    worker.kill()\n\n\n@atexit.register",
        f"{END}::test_idle_workers_run_their_atexit_functions_at_the_end_of_the_program",
        file="_pools/process/shutdown.py",
    ),
    left(
        "busy workers are asked at the end of the program",
        '                worker.request_cancel(id, "the program ends")\n',
        "                pass\n",
        f"{END}::test_busy_workers_are_asked_to_stop_and_killed_after_the_grace",
        file="_pools/process/shutdown.py",
    ),
    left(
        "coverage.py measures workers",
        "not sys.flags.no_site and (_measures_coverage() or _has_installed_finders())",
        "not sys.flags.no_site and _has_installed_finders()",
        f"{END}::test_coverage_measures_workers_with_its_documented_configuration",
        file="_pools/process/start_worker.py",
    ),
)
