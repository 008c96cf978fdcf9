"""Clause 9: what actors promise."""

from __future__ import annotations

from tests.mutants.mutant import Clause

ACTORS_FILE = "test_9_actors.py"
PASSED_FILE = "test_9_actors_as_arguments.py"

clause_9 = Clause(9)

ACTORS = (
    clause_9.process(
        breaks="a ring of actors that were passed to each other is found",
        file="_scope/actor_rings.py",
        old="{**handle.requests.running, **handle.requests.awaited}",
        new="handle.requests.running",
        tests=(f"{PASSED_FILE}::test_actors_that_have_each_other_and_wait_in_a_ring_are_told",),
    ),
    clause_9.process(
        breaks="a call that found no object waits for the next one",
        file="_scope/actor_lane.py",
        old="            self.lane.put_back(self)",
        new="            super().settle(outcome)",
        tests=(f"{ACTORS_FILE}::test_under_supervise_the_object_is_made_anew_and_no_call_runs_twice",),
    ),
    clause_9.process(
        breaks="calls that wait keep their order after a crash",
        file="_scope/actor_lane.py",
        old="        self.queue = deque(sorted(self.queue, key=lambda entry: entry[0].id))",
        new="        self.queue = deque(sorted(self.queue, key=lambda entry: -entry[0].id))",
        tests=(f"{ACTORS_FILE}::test_under_supervise_the_object_is_made_anew_and_no_call_runs_twice",),
    ),
    clause_9.process(
        breaks="the calls of a dead actor fail",
        file="_scope/remote_actor.py",
        old="                self._lane.fail_all(self._error)\n            return",
        new="                pass\n            return",
        tests=(f"{ACTORS_FILE}::test_a_dead_actor_refuses_calls_and_says_why",),
    ),
    clause_9.process(
        breaks="a crash fails the actor",
        file="_scope/remote_actor.py",
        old="        self._lane.fail_all(error)\n        self._report(error)",
        new="        self._lane.fail_all(error)",
        tests=(f"{ACTORS_FILE}::test_a_crash_fails_the_actor_and_the_calls_it_had",),
    ),
    clause_9.process(
        breaks="under a policy that restarts the object is made anew",
        file="_scope/remote_actor.py",
        old='        if delay is not None:\n            self.state = "lost"',
        new='        if False:\n            self.state = "lost"',
        tests=(f"{ACTORS_FILE}::test_under_supervise_the_object_is_made_anew_and_no_call_runs_twice",),
    ),
    clause_9.process(
        breaks="an actor is closed after the tasks of its scope",
        file="_scope/engine.py",
        old="            if self.parts:\n                await close_parts(self.parts)",
        new="            if False:\n                await close_parts(self.parts)",
        tests=(f"{ACTORS_FILE}::test_calls_are_served_one_at_a_time_in_order_by_one_object",),
    ),
    clause_9.loop(
        breaks="an actor on the loop serves one call at a time",
        file="_scope/make_actor.py",
        old="        for turn in self.granted():",
        new="        for turn in self._turns:",
        tests=(f"{ACTORS_FILE}::test_coroutine_methods_run_together_up_to_concurrency",),
    ),
    clause_9.thread(
        breaks="a call that is cancelled before its turn never starts",
        file="_scope/actor_lane.py",
        old="        self.queue = deque(entry for entry in self.queue if entry[0] not in chosen)",
        new="        pass",
        tests=(f"{ACTORS_FILE}::test_a_call_that_is_cancelled_before_its_turn_never_starts",),
    ),
    clause_9.thread(
        breaks="a call goes to the least busy of several actors",
        file="_scope/actor.py",
        old="key=lambda actor: (ranks[actor.state], actor.pending)",
        new="key=lambda actor: ranks[actor.state]",
        tests=(f"{ACTORS_FILE}::test_several_actors_share_the_calls_the_least_busy_first",),
    ),
    clause_9.scope(
        breaks="the error of a call is its caller's alone",
        file="_scope/remote_actor.py",
        old="        handle.private = True\n        handle.lane = self._lane",
        new="        handle.lane = self._lane",
        tests=(f"{ACTORS_FILE}::test_what_a_method_raises_is_raised_where_the_call_is_awaited_and_nowhere_else",),
    ),
)
