"""Clauses 1, 2 and 5: what the scope promises for every place at once, and what each place has of its own in it."""

from __future__ import annotations

from tests.mutants.mutant import Clause

ORPHANS = "test_1_no_orphans.py"
ORPHAN_PROCESSES = "test_1_no_orphan_processes.py"
FAIL_FAST = "test_2_fail_fast.py"
POLICIES = "test_2_other_policies.py"
KEEPS = "test_2_what_a_scope_keeps.py"
DEADLINES = "test_5_deadlines.py"

clause_1 = Clause(1)
clause_2 = Clause(2)
clause_5 = Clause(5)

NO_ORPHANS = (
    clause_1.scope(
        breaks="leaving the block waits for the tasks outside of the loop",
        file="_scope/remote_tasks.py",
        old="while not (self._leaving and not self.tasks):",
        new="while not self._leaving:",
        tests=(f"{ORPHANS}::test_leaving_the_block_waits_for_every_task",),
    ),
    clause_1.loop(
        breaks="leaving the block waits for the coroutines",
        file="_scope/engine.py",
        old="task = create_task(self._group, run_coroutine(handle), handle.name)",
        new="task = __import__('asyncio').get_running_loop().create_task(run_coroutine(handle))",
        tests=(f"{ORPHANS}::test_leaving_the_block_waits_for_every_task",),
        only="-loop and not trio and not uvloop and not eager",
    ),
    clause_1.scope(
        breaks="what a cancellation stops is waited for, although the waiting itself is cancelled",
        file="_scope/remote_tasks.py",
        old="            while self.tasks:\n                self.draining",
        new="            while False:\n                self.draining",
        tests=(
            f"{ORPHANS}::test_asyncio_cancel_stops_every_task_and_waits_for_it",
            f"{ORPHANS}::test_an_outer_cancel_scope_stops_every_task_and_waits_for_it",
            f"{ORPHANS}::test_no_number_of_asyncio_cancels_makes_an_orphan",
        ),
    ),
    clause_1.scope(
        breaks="no number of asyncio's own cancellations makes an orphan",
        file="_scope/remote_tasks.py",
        old="except anyio.get_cancelled_exc_class() as exc:",
        new="except ZeroDivisionError as exc:",
        tests=(f"{ORPHANS}::test_no_number_of_asyncio_cancels_makes_an_orphan",),
    ),
    clause_1.scope(
        breaks="tasks are waited for although the supervisor itself was hit",
        file="_scope/engine.py",
        old="if self.remote_tasks:  # the coroutine that represents them was cancelled itself",
        new="if False:",
        tests=(f"{ORPHANS}::test_what_outlived_a_broken_supervisor_is_still_waited_for",),
    ),
    clause_1.thread(
        breaks="only a task that was spawned so may be abandoned",
        file="_pools/thread/lane.py",
        old="if task.abandon:",
        new="if True:",
        tests=(f"{ORPHANS}::test_a_thread_task_that_does_not_look_is_waited_for",),
    ),
    clause_1.thread(
        breaks="a task that may be abandoned holds up nobody",
        file="_pools/thread/lane.py",
        old="if task.abandon:",
        new="if False:",
        tests=(f"{ORPHANS}::test_an_abandoned_thread_task_alone_may_outlive_its_scope",),
    ),
    clause_1.process(
        breaks="the grandchildren of a killed worker die with it",
        file="_platform/process_control.py",
        old="signal_group(pid, pidfd, signal.SIGKILL)",
        new="send_signal(pid, pidfd, signal.SIGKILL)",
        tests=(
            f"{ORPHAN_PROCESSES}::test_grandchildren_of_a_cancelled_task_are_killed_with_their_worker",
            f"{ORPHAN_PROCESSES}::test_the_death_of_a_worker_takes_its_grandchildren_along",
        ),
    ),
    clause_1.process_coroutine(
        breaks="a killed worker is dead before its task has ended",
        file="_pools/process/cancellation.py",
        old="            worker.killed_for = task\n",
        new="            worker.tasks.pop(task.id).settle_cancelled()\n            return\n",
        tests=(f"{ORPHAN_PROCESSES}::test_the_worker_of_a_task_that_does_not_stop_is_dead_when_its_block_is_left",),
    ),
)

FAILURE_POLICY = (
    clause_2.scope(
        breaks="the first failure cancels all others",
        file="_rules/policies.py",
        old="    def __init__(self, *, unwrap: bool = False) -> None:\n        self.unwrap = unwrap\n\n"
        "    def judge(self, tally: Tally) -> Verdict:\n"
        "        return Verdict.CANCEL_SCOPE if tally.errors else Verdict.GO_ON",
        new="    def __init__(self, *, unwrap: bool = False) -> None:\n        self.unwrap = unwrap\n\n"
        "    def judge(self, tally: Tally) -> Verdict:\n        return Verdict.GO_ON",
        tests=(f"{FAIL_FAST}::test_the_first_failure_cancels_all_others_at_every_place_and_the_body",),
    ),
    clause_2.scope(
        breaks="a failure that several tasks awaited is in the group once",
        file="_scope/exit_errors.py",
        old="kept = _once(_without_own_cancellations(scope, raised), failures)",
        new="kept = _without_own_cancellations(scope, raised)",
        tests=(
            f"{FAIL_FAST}::test_a_failure_that_a_child_task_awaited_is_in_the_group_once",
            f"{FAIL_FAST}::test_a_failure_awaited_in_a_nested_group_is_in_the_group_once",
        ),
    ),
    clause_2.scope(
        breaks="a failure that the body awaited is in the group once",
        file="_scope/exit_errors.py",
        old="known = {id(leaf) for leaf in leaves(kept)}",
        new="known: set[int] = set()",
        tests=(f"{FAIL_FAST}::test_a_failure_that_the_body_awaited_and_ended_with_is_in_the_group_once",),
    ),
    clause_2.scope(
        breaks="a cancellation that the scope itself caused is no failure",
        file="_handles/cancelled.py",
        old="return all(isinstance(leaf, TaskCancelled) and leaf.scope is scope for leaf in leaves(error))",
        new="return False",
        tests=(f"{FAIL_FAST}::test_awaiting_a_sibling_that_the_scope_cancelled_is_no_failure",),
    ),
    clause_2.loop(
        breaks="the failure of a coroutine counts for the policy of its scope",
        file="_scope/coroutine.py",
        old="    except Exception as exc:\n        handle.settle(Outcome(error=exc))",
        new="    except Exception as exc:\n        handle.settle(Outcome(exc))",
        tests=(f"{FAIL_FAST}::test_every_real_failure_is_in_the_group_once",),
    ),
    clause_2.loop(
        breaks="a task that awaits what others cancelled is cancelled alone",
        file="_scope/coroutine.py",
        old="if anyio.current_effective_deadline() != -INF:",
        new="if False:",
        tests=(f"{POLICIES}::test_a_task_that_awaits_what_others_cancelled_is_cancelled_alone",),
    ),
    clause_2.scope(
        breaks="Collect raises nothing",
        file="_rules/policies.py",
        old="    def raises(self, tally: Tally) -> bool:\n        return False",
        new="    def raises(self, tally: Tally) -> bool:\n        return True",
        tests=(f"{POLICIES}::test_collect_lets_every_task_finish_and_raises_nothing",),
    ),
    clause_2.scope(
        breaks="a race is won by its n-th value",
        file="_rules/policies.py",
        old="return Verdict.CANCEL_REST if tally.values >= self.n else Verdict.GO_ON",
        new="return Verdict.CANCEL_REST if tally.values > self.n else Verdict.GO_ON",
        tests=(f"{POLICIES}::test_the_first_values_win_a_race_and_the_rest_is_cancelled",),
    ),
    clause_2.loop(
        breaks="a race that is won cancels the coroutines",
        file="_scope/engine.py",
        old="for handle in list(self._local):",
        new="for handle in ():",
        tests=(f"{POLICIES}::test_the_first_values_win_a_race_and_the_rest_is_cancelled",),
        only="-loop and not trio and not uvloop and not eager",
    ),
    clause_2.scope(
        breaks="a race that is won cancels the tasks outside of the loop",
        file="_scope/engine.py",
        old="        self._remote.cancel_all(reason)\n        for handle in list(self._local)",
        new="        for handle in list(self._local)",
        tests=(f"{POLICIES}::test_the_first_values_win_a_race_and_the_rest_is_cancelled",),
        only="not -loop and not trio and not uvloop and not eager",
    ),
    clause_2.scope(
        breaks="a scope keeps no failure that its policy never raises",
        file="_scope/policy_state.py",
        old="if self.decided is not None or len(self.failures) < self._kept_failures:",
        new="if True:",
        tests=(
            f"{KEEPS}::test_a_policy_that_never_raises_keeps_no_failure_whose_handle_is_dropped",
            f"{KEEPS}::test_an_undecided_policy_keeps_a_bounded_number_of_failures",
        ),
    ),
    clause_2.scope(
        breaks="a failure that is alone is raised itself if the policy unwraps",
        file="_scope/policy_state.py",
        old='if getattr(self._policy, "unwrap", False) or isinstance(alone, GeneratorExit):',
        new="if isinstance(alone, GeneratorExit):",
        tests=(f"{KEEPS}::test_a_failure_that_is_alone_is_raised_itself",),
    ),
)

DEADLINE = (
    clause_5.scope(
        breaks="the timeout of a scope strikes",
        file="_scope/ending.py",
        old="around.deadline = min(around.deadline, self.ends_at)",
        new="pass",
        tests=(f"{DEADLINES}::test_a_short_timeout_strikes_by_itself",),
    ),
    clause_5.scope(
        breaks="a scope that was cut short by its timeout raises TaskTimeout",
        file="_scope/ending.py",
        old="if around.cancelled_caught or self.cut_short or isinstance(raised, BaseExceptionGroup):",
        new="if False:",
        tests=(f"{DEADLINES}::test_the_scopes_timeout_stops_every_task_and_the_body",),
    ),
    clause_5.loop(
        breaks="the timeout of a coroutine strikes",
        file="_scope/coroutine.py",
        old="anyio.CancelScope(deadline=anyio.current_time() + handle.timeout)",
        new="anyio.CancelScope()",
        tests=(f"{DEADLINES}::test_a_tasks_own_timeout_is_that_tasks_failure",),
        only="-loop and not trio and not uvloop and not eager",
    ),
    clause_5.scope(
        breaks="the timeout of a task outside of the loop strikes",
        file="_scope/engine.py",
        old="            handle.start_clock(timeout)",
        new="            pass",
        tests=(f"{DEADLINES}::test_a_tasks_own_timeout_is_that_tasks_failure",),
        only="not -loop and not trio and not uvloop and not eager",
    ),
    clause_5.scope(
        breaks="the timeout of a task outside of the loop strikes on trio",
        file="_loops/trio_loop.py",
        old="                await trio.sleep(float(delay))\n                fn(*args)",
        new="                await trio.sleep(float(delay))",
        tests=(f"{DEADLINES}::test_a_tasks_own_timeout_is_that_tasks_failure",),
        only="trio and thread",
    ),
    clause_5.scope(
        breaks="the timeout of a task is its failure, no cancellation",
        file="_handles/handle.py",
        old="            self.expired = True\n",
        new="",
        tests=(f"{DEADLINES}::test_under_fail_fast_it_ends_the_scope",),
    ),
    clause_5.loop(
        breaks="time_left() tells a coroutine the nearest deadline",
        file="_tasks/current.py",
        old="            left = anyio.current_effective_deadline() - anyio.current_time()",
        new="            left = INF",
        tests=(f"{DEADLINES}::test_time_left_tells_the_nearest_deadline",),
        only="-loop and not trio and not uvloop and not eager",
    ),
    clause_5.thread(
        breaks="time_left() tells a thread task the nearest deadline",
        file="_pools/thread/call.py",
        old="self.deadline = task.deadline",
        new="self.deadline = None",
        tests=(f"{DEADLINES}::test_time_left_tells_the_nearest_deadline",),
    ),
    clause_5.process(
        breaks="time_left() tells a process task the nearest deadline",
        file="_worker/run_calls.py",
        old="deadline or None, self.context",
        new="None, self.context",
        tests=(f"{DEADLINES}::test_time_left_tells_the_nearest_deadline",),
    ),
    clause_5.process_coroutine(
        breaks="time_left() tells a coroutine in a process the nearest deadline",
        file="_worker/run_coroutines.py",
        old="task.deadline or None, self.context",
        new="None, self.context",
        tests=(f"{DEADLINES}::test_time_left_tells_the_nearest_deadline",),
    ),
    clause_5.scope(
        breaks="enclosing deadlines count for the tasks outside of the loop",
        file="_scope/engine.py",
        old="self._enclosing = enclosing_deadline()",
        new="self._enclosing = None",
        tests=(f"{DEADLINES}::test_nested_scopes_pass_their_deadlines_on",),
    ),
)
