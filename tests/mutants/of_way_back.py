"""Clause 9: what the way back from a task to its scope promises."""

from __future__ import annotations

from tests.mutants.mutant import Clause

BACK = "test_9_way_back.py"

clause_9 = Clause(9)

WAY_BACK = (
    clause_9.process(
        breaks="cancelling a task cancels the function that it waits for",
        file="_tasks/task.py",
        old="            self.requests.stop(reason)",
        new="            pass",
        tests=(f"{BACK}::test_the_timeout_of_the_task_cancels_the_function_which_sees_it_coming",),
        only="asyncio-thread and not uvloop and not eager",
    ),
    clause_9.process(
        breaks="the death of a worker cancels the function that its task had asked for",
        file="_tasks/task.py",
        old='            self.requests.stop("the task that asked for it has ended")',
        new="            pass",
        tests=(f"{BACK}::test_a_worker_that_dies_with_an_open_request_cancels_the_function",),
    ),
    clause_9.process(
        breaks="a task that is cancelled with its scope gets no answer before",
        file="_scope/requests.py",
        old="    return scope.decided or scope.is_cancelled()",
        new="    return False",
        tests=(f"{BACK}::test_a_task_that_is_cancelled_with_its_scope_gets_no_answer_before",),
    ),
    clause_9.thread(
        breaks="tasks that wait for each other too deep are an error",
        file="_scope/requests.py",
        old="    if len(chain) > DEEPEST:",
        new="    if False:",
        tests=(f"{BACK}::test_tasks_that_wait_for_each_other_too_deep_are_an_error_that_names_them",),
    ),
    clause_9.thread(
        breaks="a chain is only as deep as the tasks in it that still wait",
        file="_scope/requests.py",
        old="    request.asker = None\n    request.answer(outcome)",
        new="    request.answer(outcome)",
        tests=(f"{BACK}::test_a_chain_of_tasks_that_do_not_wait_may_have_any_length",),
    ),
    clause_9.process(
        breaks="a pool whose workers all wait for replies gets one more",
        file="_pools/process/worker_group.py",
        old="return all(worker.blocked_at is not None and worker.blocked_at <= latest for worker in self.workers)",
        new="return False and latest",
        tests=(f"{BACK}::test_nested_work_neither_starves_nor_deadlocks_and_the_surplus_retires",),
    ),
    clause_9.process(
        breaks="the surplus worker retires",
        file="_pools/process/dispatcher.py",
        old="            self.group.unblocked = self._registry.retire_surplus(self.group)",
        new="            pass",
        tests=(f"{BACK}::test_nested_work_neither_starves_nor_deadlocks_and_the_surplus_retires",),
    ),
    clause_9.process(
        breaks="what was sent ahead to a worker that waits is taken back",
        file="_pools/process/task_requests.py",
        old="        self._group.recall(worker)",
        new="        pass",
        tests=(f"{BACK}::test_what_was_sent_ahead_to_a_worker_that_waits_runs_elsewhere",),
    ),
    clause_9.process_coroutine(
        breaks="a spawn that is refused, for which nobody waits, fails the scope",
        file="_scope/requests.py",
        old="        handle.settle(Outcome(error=error))",
        new="        del handle",
        tests=(f"{BACK}::test_a_spawn_that_is_refused_is_an_error",),
    ),
    clause_9.process(
        breaks="the function of a task that waits no more is cancelled",
        file="_worker/context.py",
        old="            self.context.requests.send(self.id, self.name, pending.stop())",
        new="            pass",
        tests=(f"{BACK}::test_a_task_that_gives_up_waiting_cancels_the_function",),
    ),
    clause_9.process(
        breaks="a worker is signalled again until it has read the answer",
        file="_pools/process/mailbox_signal.py",
        old="    if unread or",
        new="    if False and unread or",
        tests=(f"{BACK}::test_an_answer_arrives_though_the_signal_for_it_came_before_the_sleep",),
    ),
)
