"""What is promised of workers that are interpreters alone: where an interrupt lands, what is shared, how they end."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TESTS = "contract/test_interpreters.py"
SIGNAL = "_worker/interpreter_signal.py"
MAIN = "_worker/in_interpreter.py"


def broken(clause: int, breaks: str, file: str, old: str, new: str, test: str, only: str = "not trio") -> Mutant:
    return Mutant(
        clause=clause,
        place="interpreter",
        breaks=breaks,
        file=file,
        old=old,
        new=new,
        tests=(f"{TESTS}::{test}",),
        only=only,
        python=(3, 14),
    )


INTERPRETERS = (
    broken(
        3,
        "an interpreter is interrupted at safe points only",
        SIGNAL,
        "        if self._at_line and frame is not None:",
        "        if frame is None:",
        "test_every_finally_and_exit_that_was_entered_runs_when_the_interrupt_lands_anywhere",
    ),
    broken(
        3,
        "an event loop of a task in an interpreter is woken",
        SIGNAL,
        "                inner_loops.wake_all()",
        "                pass",
        "test_a_cancelled_task_is_interrupted_and_its_finally_runs",
    ),
    broken(
        4,
        "a view that could be written to is copied",
        "_platform/handed_over.py",
        " and all(buffer.readonly for buffer in buffers)",
        "",
        "test_a_large_read_only_view_is_not_copied",
    ),
    broken(
        4,
        "fewer views are out than CPython can let go of at once",
        "_platform/handed_over.py",
        "OUT_MAX = 100",
        "OUT_MAX = 100_000",
        "test_many_read_only_views_are_all_let_go",
    ),
    broken(
        4,
        "a view of a task that was taken back is let go",
        "_pools/process/worker.py",
        "                handed_over.drop(memoryview(message.payload))",
        "                pass",
        "test_a_view_of_a_task_that_never_starts_is_let_go",
    ),
    broken(
        8,
        "the threads of an interpreter are parked when the program ends",
        MAIN,
        "                safe_points.call_soon(ident, hold)",
        "                pass",
        "test_a_program_ends_without_a_crash_whatever_its_interpreters_do",
        only="writing",
    ),
    broken(
        8,
        "the second thread of an interpreter has ended when that is closed",
        MAIN,
        "        self._socket.shutdown(_socket.SHUT_RDWR)\n        while",
        "        until = 0.0\n        while",
        "test_closed_workers_leave_nothing_open",
    ),
    broken(
        8,
        "idle interpreters are closed before a fork",
        "_pools/interpreter/shutdown.py",
        "for worker in [worker for worker in group.workers if not worker.tasks]:",
        "for worker in list(group.workers)[:0]:",
        "test_idle_workers_end_before_a_fork_and_the_child_lives",
    ),
)
