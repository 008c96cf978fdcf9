"""Clause 9: who waits for ever is told, and no other is."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ONE_PROCESS = "test_9_deadlocks.py"
BETWEEN = "test_9_deadlocks_between_processes.py"
LIMIT = f"{ONE_PROCESS}::test_a_ring_over_a_limit_is_found_unless_a_deadline_or_another_holder_opens_it"
CAN_GO_ON = f"{ONE_PROCESS}::test_who_can_go_on_is_no_deadlock"
ACTORS = "test_9_actors.py::test_actors_that_call_each_other_in_a_ring_are_told"
NO_END = "test_9_waits_without_end.py"
COULD_ACT = f"{NO_END}::test_who_has_what_is_waited_for_and_could_act_means_no_deadlock"
HANDLE = f"{BETWEEN}::test_a_ring_over_a_handle_is_found"

DEADLOCKS = (
    Mutant(
        clause=9,
        place="scope",
        breaks="who waits for one of several permits is stuck only if all holders are",
        file="_sync/deadlocks/graph.py",
        old="len(found) >= total and ",
        new="",
        tests=(CAN_GO_ON,),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="a wait that ends by itself is no part of a deadlock",
        file="_sync/deadlocks/snapshot.py",
        old=" and not each.may_time_out",
        new="",
        tests=(CAN_GO_ON,),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="a ring over the end of a scope is found",
        file="_sync/deadlocks/frames.py",
        old='    "ScopeEngine.close": _scope,\n',
        new="",
        tests=(f"{ONE_PROCESS}::test_a_ring_over_the_end_of_a_scope_and_over_a_task_is_found",),
    ),
    Mutant(
        clause=9,
        place="process",
        breaks="what a process told before a look, and not again, is no proof",
        file="_sync/deadlocks/look.py",
        old="+ _BEATS for",
        new="for",
        tests=(f"{BETWEEN}::test_a_process_that_tells_nothing_new_is_no_member_of_a_ring",),
    ),
    Mutant(
        clause=9,
        place="process",
        breaks="a process whose tasks wait for no lock tells what they await",
        file="_sync/locks/permit_queue.py",
        old="            deadlocks.tell_holds(all_locks)",
        new="            pass",
        tests=(HANDLE,),
    ),
    Mutant(
        clause=9,
        place="process",
        breaks="the tasks between a holder and the one that waits are followed",
        file="_sync/deadlocks/snapshot.py",
        old="        self._todo += [",
        new="        [",
        tests=(HANDLE,),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="an actor on the loop that calls itself is told",
        file="_scope/make_actor.py",
        old="if not turn.is_set() and current.get() is not None:",
        new="if False:",
        tests=(ACTORS,),
    ),
    Mutant(
        clause=9,
        place="process",
        breaks="a worker that waits for the answer of its actor waits for its own turn",
        file="_scope/actor_rings.py",
        old='number = getattr(handle.location, "blocked_by", None)',
        new="number = None",
        tests=(ACTORS,),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="who waits for a limit may hold a lock",
        file="_sync/deadlocks/frames.py",
        old='    "Gate.__aenter__": _limit,\n',
        new="",
        tests=(LIMIT,),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="a deadline around the wait for a limit or a task opens the ring",
        file="_sync/deadlocks/snapshot.py",
        old="awaited is not None and not has_deadline(holder)",
        new="awaited is not None",
        tests=(LIMIT,),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="one reference that was not found means that somebody else may send",
        file="_sync/deadlocks/reach.py",
        old="self._count(number) != self._own + self._found[number]",
        new="False",
        tests=(COULD_ACT, f"{NO_END}::test_a_timer_of_the_loop_can_set_an_event"),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="who has an object and does not wait for it can end the wait",
        file="_sync/deadlocks/snapshot.py",
        old="            if agent.key in stuck:\n                agent.add_to(reach)",
        new="            agent.add_to(reach)",
        tests=(COULD_ACT,),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="who gives up by itself is no part of a deadlock",
        file="_sync/deadlocks/agents.py",
        old=' or getattr(made, "cr_running", False) or has_deadline(task)',
        new="",
        tests=(COULD_ACT,),
    ),
    Mutant(
        clause=9,
        place="thread",
        breaks="what a thread iterates over is had by it",
        file="_sync/deadlocks/agents.py",
        old="        if inner is not None and _iterates(frame, inner):",
        new="        if False:",
        tests=(f"{NO_END}::test_a_receiver_is_told_that_nobody_is_left_who_could_send",),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="a timer looks for coroutines that wait for a channel",
        file="_sync/channels/local_form.py",
        old="            patrol.begin(sleeper.adapter)",
        new="            pass",
        tests=(f"{NO_END}::test_a_ring_of_a_full_and_an_empty_channel_is_found",),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="a wait for an event that nobody else has ends",
        file="_sync/deadlocks/frames.py",
        old='    "Meeting._wait": _meeting,\n',
        new="",
        tests=(f"{NO_END}::test_who_waits_for_an_event_or_a_barrier_that_nobody_else_has_is_told",),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="a lock order is compared with those seen before, in any order",
        file="_sync/deadlocks/order.py",
        old="path = self._path(second, first)",
        new="path = self._path(first, second)",
        tests=("scope/test_lock_order.py::test_two_orders_of_two_locks_are_reported_once_with_both_lines",),
    ),
    Mutant(
        clause=9,
        place="scope",
        breaks="locks that existed before the scope with debug=True are watched, too",
        file="_sync/deadlocks/order.py",
        old="            each.tell()",
        new="            pass",
        tests=("scope/test_lock_order.py::test_two_orders_of_two_locks_are_reported_once_with_both_lines",),
    ),
)
