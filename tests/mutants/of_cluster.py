"""Clauses 1, 3 and 6 where a task runs on another node."""

from __future__ import annotations

from tests.mutants.mutant import Clause

LAW = "cluster/test_dask_law.py"
FAULTS = "cluster/test_dask_faults.py"
GATE = "cluster/test_gate.py"
KEEPER = "cluster/test_keeper.py"
ENDS = "cluster/test_pool_ends.py"

clause_1 = Clause(1)
clause_3 = Clause(3)
clause_6 = Clause(6)
clause_8 = Clause(8)

CLUSTER = (
    clause_1.process(
        breaks="the keeper kills the workers of an agent that is stopped",
        file="cluster/keeper.py",
        old="        kill()\n        beats.recv",
        new="        beats.recv",
        tests=(f"{FAULTS}::test_a_stopped_node_is_lost_after_its_tasks_were_killed",),
    ),
    clause_1.process(
        breaks="a keeper does not keep the workers of a killed agent alive",
        file="cluster/keeper.py",
        old="message = (0, lifeline.fileno()) if pidfd is None else (pid, pidfd)",
        new="message = (0, lifeline.fileno())",
        tests=(f"{KEEPER}::test_a_killed_agent_takes_its_workers_along_before_its_keeper_does_anything",),
    ),
    clause_3.process(
        breaks="a call that comes back although it was cancelled is not run again",
        file="cluster/lane.py",
        old="        if task.cancel_requested or id in self._unwanted:",
        new="        if id in self._unwanted:",
        tests=(f"{LAW}::test_a_task_that_is_taken_back_while_it_is_cancelled_never_runs",),
    ),
    clause_6.process(
        breaks="what a lost node had is not run again",
        file="cluster/lane.py",
        old="                task.settle(Outcome(error=NodeLost(task.name, node.address, begun or None, why)))",
        new="                task.location = None\n                self.queues[0].push(task)",
        tests=(f"{FAULTS}::test_what_a_killed_node_had_is_lost_and_the_rest_runs_elsewhere_once",),
    ),
    clause_6.process(
        breaks="a gate returns what has not begun, and never runs it",
        file="_pools/process/relay.py",
        old="        self._lane.cancel(tasks, None, running=False)",
        new="        for task in tasks:\n            self._sink.returned(task.id)",
        tests=(f"{GATE}::test_what_has_not_begun_is_returned_and_never_runs",),
    ),
    clause_1.process(
        breaks="a closed pool says that a task is lost only when it has ended there",
        file="cluster/hub.py",
        old="            await asyncio.gather(*[link.until_ended() for link in busy])",
        new="            await asyncio.sleep(0)",
        tests=(f"{ENDS}::test_a_pool_whose_closing_is_cancelled_leaves_no_task_waiting_and_none_running",),
    ),
    clause_3.process(
        breaks="a call that comes back and is cancelled before it is queued is counted once",
        file="cluster/lane.py",
        old="            queue.push_front(tasks)",
        new="            queue.push_front(task for task in tasks if task.outcome is None)",
        tests=(f"{ENDS}::test_a_task_that_comes_back_and_is_cancelled_by_the_next_frame_does_not_count_as_waiting",),
    ),
    clause_8.process(
        breaks="no call begins without a seat",
        file="cluster/agent.py",
        old="        if not self.slots or self._gate is None",
        new="        if self._gate is None",
        tests=(f"{ENDS}::test_a_call_that_comes_after_its_seat_was_given_back_is_returned",),
    ),
    clause_8.process(
        breaks="nobody waits for what the thread of a closed pool cannot do any more",
        file="cluster/hub.py",
        old="            if self._loop is not None and self._thread is not None:",
        new="            if self._loop is not None:",
        tests=(f"{ENDS}::test_a_lane_that_is_dropped_while_the_thread_of_its_pool_ends_is_not_waited_for_in_vain",),
    ),
    clause_8.process(
        breaks="a seat that was cancelled as it started is left at once",
        file="cluster/dask_agent.py",
        old='        if finish == "released":',
        new="        if not key:",
        tests=(
            "cluster/test_dask_engine.py::test_a_seat_that_is_cancelled_as_it_starts_keeps_no_thread_from_the_next_pool",
        ),
    ),
)
