"""Clause 3: one cancellation."""

from __future__ import annotations

from tests.mutants.mutant import Clause

ONE = "test_3_one_cancellation.py"
INNER_LOOPS = "test_3_inner_event_loops.py"
THREADS = "test_3_thread_tasks.py"
PROCESSES = "test_3_process_tasks.py"
ALREADY = "test_3_cancelled_already.py"
COROUTINES = "test_3_coroutines_in_a_process.py"
EVERY_WAY = f"{ONE}::test_every_way_of_cancelling_asks_the_task_and_tells_why"

clause_3 = Clause(3)

CANCELLATION = (
    clause_3.loop(
        breaks="cancelling a handle cancels its coroutine",
        file="_scope/engine.py",
        old="            handle.backend_data.cancel()",
        new="            pass",
        tests=(EVERY_WAY,),
        only="-loop and by_handle and not trio and not uvloop and not eager",
    ),
    clause_3.scope(
        breaks="a cancellation of the scope reaches the tasks outside of the loop",
        file="_scope/remote_tasks.py",
        old="                self.cancel_all(self._reason())",
        new="                pass",
        tests=(EVERY_WAY,),
        only="by_enclosing_scope and not trio and not uvloop and not eager",
    ),
    clause_3.scope(
        breaks="a blocking scope is cancelled with the thread task that has opened it",
        file="_blocking/loop_thread.py",
        old="                        sleepers[self] = self._task\n",
        new="",
        tests=(f"{THREADS}::test_a_blocking_scope_in_a_thread_task_is_cancelled_with_it",),
        only="its and end",
    ),
    clause_3.scope(
        breaks="tasks hear why their scope was cancelled",
        file="_scope/remote_tasks.py",
        old="            lane.cancel(tasks, reason)",
        new="            lane.cancel(tasks, None)",
        tests=(EVERY_WAY,),
    ),
    clause_3.scope(
        breaks="a queued task that was cancelled never starts",
        file="_rules/fair_queue.py",
        old="if item.outcome is None:",
        new="if True:",
        tests=(f"{ONE}::test_a_queued_task_that_is_cancelled_never_starts",),
    ),
    clause_3.thread(
        breaks="a running thread task is asked",
        file="_pools/thread/lane.py",
        old="            call.request_cancel(reason)",
        new="            pass",
        tests=(f"{THREADS}::test_check_cancelled_raises_in_a_task_that_was_asked_and_tells_why",),
    ),
    clause_3.thread(
        breaks="a task that allows it is interrupted",
        file="_pools/thread/lane.py",
        old="            if call.interruptible:",
        new="            if False:",
        tests=(f"{THREADS}::test_an_interrupted_task_runs_its_finally_block_and_hears_why",),
    ),
    clause_3.thread(
        breaks="a task that does not allow it is never interrupted",
        file="_scope/engine.py",
        old="        if interrupt or abandon:\n            handle.interrupt, handle.abandon = interrupt, abandon\n",
        new="        if True:\n            handle.interrupt, handle.abandon = True, abandon\n",
        tests=(f"{THREADS}::test_a_task_that_does_not_look_is_not_interrupted_unless_that_was_allowed",),
    ),
    clause_3.thread(
        breaks="an interrupt leaves no event loop of the task open",
        file="_pools/thread/interrupt.py",
        old="if token.tries < LIBRARY_TRIES and",
        new="if False and",
        tests=(f"{INNER_LOOPS}::test_an_event_loop_that_is_being_closed_is_closed_before_its_task_is_interrupted",),
    ),
    clause_3.thread(
        breaks="an event loop that a task runs is told to stop",
        file="_pools/thread/interrupt.py",
        old="        loop.cancel()",
        new="        pass",
        tests=(f"{INNER_LOOPS}::test_interrupting_a_thread_task_ends_the_event_loop_it_runs",),
        only="waits and not child and not trio and not uvloop and not eager",
    ),
    clause_3.thread(
        breaks="a value that was returned after the ask is kept",
        file="_pools/thread/call.py",
        old="            outcome = Outcome(value) if type(value) is not CoroutineType",
        new="            stopped = self.cancel_requested\n"
        "            outcome = CANCELLED if stopped else Outcome(value) if type(value) is not CoroutineType",
        tests=(f"{THREADS}::test_is_cancelled_tells_a_task_that_was_asked_and_its_value_is_kept",),
    ),
    clause_3.process(
        breaks="the ask is heard between two bytecodes",
        file="_worker/cancel_signal.py",
        old="                self._read_mailbox(self._buffer)\n                self.deliver(frame)",
        new="                self._read_mailbox(self._buffer)",
        tests=(f"{PROCESSES}::test_an_asked_task_runs_its_finally_block_and_its_worker_stays_warm",),
        only="endless_loop and not trio and not uvloop and not eager",
    ),
    clause_3.process(
        breaks="a task hears why it was asked",
        file="_worker/call_cancel_signal.py",
        old="        self.raise_in(frame, reason)\n\n    def",
        new="        self.raise_in(frame, None)\n\n    def",
        tests=(EVERY_WAY,),
        only="process and by_handle and not coroutine and not trio and not uvloop and not eager",
    ),
    clause_3.process(
        breaks="an event loop that a task runs is told to stop, not hit",
        file="_worker/call_cancel_signal.py",
        old="        if not self.loop_notified:",
        new="        if False:",
        tests=(f"{INNER_LOOPS}::test_asking_a_process_task_ends_the_event_loop_it_runs_and_harms_no_later_one",),
        only="waits and not children and with_anyio and not trio and not uvloop and not eager",
    ),
    clause_3.process(
        breaks="a group of nothing but the ask is a cancellation",
        file="_tasks/current.py",
        old="if isinstance(one, BaseExceptionGroup) and not isinstance(one, kinds):",
        new="if False:",
        tests=(f"{PROCESSES}::test_an_ask_that_the_task_has_put_into_a_group_is_a_cancellation",),
        only="hand and not trio and not uvloop and not eager",
    ),
    clause_3.process(
        breaks="a task that does not stop is killed when the grace is over",
        file="_pools/process/cancellation.py",
        old="            worker.connection.dismissed()\n            worker.kill()",
        new="            worker.connection.dismissed()",
        tests=(f"{PROCESSES}::test_a_task_that_swallows_the_ask_is_killed_after_the_grace_with_its_children",),
    ),
    clause_3.process(
        breaks="a spare worker takes over after a kill",
        file="_pools/process/cancellation.py",
        old="        self._registry.start_spare(self._group.kind)\n",
        new="",
        tests=(f"{PROCESSES}::test_a_call_that_keeps_the_gil_is_killed_and_a_spare_worker_takes_over",),
    ),
    clause_3.process(
        breaks="an ask during an import is raised when the import returns",
        file="_worker/call_cancel_signal.py",
        old="        importing = importer(frame, self.outermost)",
        new="        importing = None",
        tests=(f"{PROCESSES}::test_an_ask_during_an_import_is_raised_when_the_import_returns",),
    ),
    clause_3.process(
        breaks="an ask during an import is raised before the task goes on after it",
        file="_worker/cancel_signal.py",
        old="            if traced is not frame:\n                return None  # inside the import",
        new="            if traced is not frame or event != 'return':\n                return None",
        tests=(f"{PROCESSES}::test_an_ask_during_an_import_is_raised_when_the_import_returns",),
    ),
    clause_3.process(
        breaks="an ask that a __del__ swallowed is repeated",
        file="_worker/call_cancel_signal.py",
        old="            self.raise_at_next_opcode(frame, Cancelled(task.reason))",
        new="            pass",
        tests=(f"{PROCESSES}::test_an_ask_that_a_del_swallowed_is_repeated",),
    ),
    clause_3.process(
        breaks="a C function that returned after the ask keeps its value",
        file="_worker/run_calls.py",
        old="value = defaultdict(call)[0]",
        new="value = call()",
        tests=(f"{PROCESSES}::test_a_c_function_that_returned_after_the_ask_keeps_its_value",),
    ),
    clause_3.process(
        breaks="tasks that were sent ahead never start once they are cancelled",
        file="_pools/process/cancellation.py",
        old="        back = worker.take_back()\n        ended",
        new="        back: list[Task] = []\n        ended",
        tests=(f"{PROCESSES}::test_tasks_that_were_sent_ahead_are_taken_back",),
    ),
    clause_3.process_coroutine(
        breaks="a coroutine in a process is cancelled",
        file="_worker/run_coroutines.py",
        old="            self.running[id][0].cancel(reason)",
        new="            pass",
        tests=(f"{COROUTINES}::test_each_of_many_coroutines_in_a_worker_can_be_cancelled",),
    ),
    clause_3.process_coroutine(
        breaks="a coroutine that blocks its loop is interrupted",
        file="_worker/loop_cancel_signal.py",
        old="            elif now - self._requested_at > _BLOCKS and self._blocked_by(running, importing or frame):",
        new="            elif False:",
        tests=(f"{COROUTINES}::test_a_coroutine_that_blocks_its_loop_is_interrupted_and_its_neighbours_go_on",),
    ),
    clause_3.process_coroutine(
        breaks="the neighbours of a killed coroutine hear whose fault it was",
        file="_pools/process/reap.py",
        old="    if worker.killed_for is not None:",
        new="    if False:",
        tests=(f"{COROUTINES}::test_the_neighbours_of_a_killed_coroutine_are_told_whose_fault_it_was",),
    ),
    clause_3.thread(
        breaks="what is cancelled already never starts",
        file="_loops/asyncio_loop.py",
        old="at = None if at._shield else at._parent_scope",
        new="at = None",
        tests=(f"{ALREADY}::test_a_thread_task_spawned_where_an_enclosing_scope_is_cancelled_never_starts",),
    ),
    clause_3.thread(
        breaks="a look at the cancellation asks the scope itself",
        file="_pools/thread/call.py",
        old="if not self.cancel_requested and task is not None and task.scope_is_cancelled():",
        new="if False:",
        tests=(f"{ALREADY}::test_a_look_right_after_an_enclosing_scope_was_cancelled_is_told_so",),
    ),
    clause_3.thread(
        breaks="the third Ctrl-C ends a program whose thread does not end",
        file="_loops/trio_ctrl_c.py",
        old="            if self._counts[fn] == 2:",
        new="            if False:",
        tests=("test_3_ctrl_c.py::test_the_third_ctrl_c_ends_a_program_whose_task_does_not",),
        only="trio",
    ),
    clause_3.scope(
        breaks="a scope that a cancelled task cancels in its clean-up ends",
        file="_scope/ending.py",
        old="        self._native = native_cancels()\n",
        new="",
        tests=(
            "test_3_clean_up_of_a_cancelled_task.py"
            "::test_a_scope_that_was_cancelled_in_a_finally_swallows_its_own_cancellation",
        ),
    ),
    clause_3.process(
        breaks="a reason that is no valid text stops a task all the same",
        file="_wire/frames.py",
        old='text.encode("utf-8", "replace")[:NAME_MAX]',
        new="text.encode()[:NAME_MAX]",
        tests=("faults/test_hostile_errors.py::test_any_reason_stops_a_task",),
        only="surrogate and process",
    ),
)
