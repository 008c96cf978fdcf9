"""Clause 9: who waits for ever is told, and no other is."""

from __future__ import annotations

from tests.mutants.mutant import Clause

ONE_PROCESS = "test_9_deadlocks.py"
BETWEEN = "test_9_deadlocks_between_processes.py"
LIMIT = f"{ONE_PROCESS}::test_a_ring_over_a_limit_is_found_unless_a_deadline_or_another_holder_opens_it"
CAN_GO_ON = f"{ONE_PROCESS}::test_who_can_go_on_is_no_deadlock"
ACTORS = "test_9_actors.py::test_actors_that_call_each_other_in_a_ring_are_told"
IN_WORKERS = "test_9_waits_in_workers.py"
NESTED = "test_9_waits_in_nested_workers.py"
COULD_END_NESTED = f"{NESTED}::test_who_could_end_the_wait_in_a_nested_worker_means_no_deadlock"
NO_END = "test_9_waits_without_end.py"
COULD_ACT = f"{NO_END}::test_who_has_what_is_waited_for_and_could_act_means_no_deadlock"
ELSEWHERE = f"{NO_END}::test_who_may_still_send_in_another_process_means_no_deadlock"
SHARED = f"{NO_END}::test_who_waits_for_what_no_process_has_any_more_is_told"
HANDLE = f"{BETWEEN}::test_a_ring_over_a_handle_is_found"

clause_9 = Clause(9)

DEADLOCKS = (
    clause_9.scope(
        breaks="who waits for one of several permits is stuck only if all holders are",
        file="_sync/deadlocks/graph.py",
        old="len(found) >= total and ",
        new="",
        tests=(CAN_GO_ON,),
    ),
    clause_9.scope(
        breaks="a wait that ends by itself is no part of a deadlock",
        file="_sync/deadlocks/snapshot.py",
        old=" and not each.may_time_out",
        new="",
        tests=(CAN_GO_ON,),
    ),
    clause_9.scope(
        breaks="a ring over the end of a scope is found",
        file="_sync/deadlocks/frames.py",
        old='    "ScopeEngine.close": _scope,\n',
        new="",
        tests=(f"{ONE_PROCESS}::test_a_ring_over_the_end_of_a_scope_and_over_a_task_is_found",),
    ),
    clause_9.process(
        breaks="what a process told before a look, and not again, is no proof",
        file="_sync/deadlocks/look.py",
        old="+ _BEATS for",
        new="for",
        tests=(f"{BETWEEN}::test_a_process_that_tells_nothing_new_is_no_member_of_a_ring",),
    ),
    clause_9.process(
        breaks="a process whose tasks wait for no lock tells what they await",
        file="_sync/locks/permit_queue.py",
        old="            deadlocks.tell_holds(all_locks)",
        new="            pass",
        tests=(HANDLE,),
    ),
    clause_9.process(
        breaks="the tasks between a holder and the one that waits are followed",
        file="_sync/deadlocks/snapshot.py",
        old="        self._todo += [",
        new="        [",
        tests=(HANDLE,),
    ),
    clause_9.scope(
        breaks="an actor on the loop that calls itself is told",
        file="_scope/make_actor.py",
        old="if not turn.is_set() and current.get() is not None:",
        new="if False:",
        tests=(ACTORS,),
    ),
    clause_9.process(
        breaks="a worker that waits for the answer of its actor waits for its own turn",
        file="_scope/actor_rings.py",
        old='number = getattr(handle.location, "blocked_by", None)',
        new="number = None",
        tests=(ACTORS,),
    ),
    clause_9.scope(
        breaks="who waits for a limit may hold a lock",
        file="_sync/deadlocks/frames.py",
        old='    "Gate.__aenter__": _limit,\n',
        new="",
        tests=(LIMIT,),
    ),
    clause_9.scope(
        breaks="a deadline around the wait for a limit or a task opens the ring",
        file="_sync/deadlocks/snapshot.py",
        old="awaited is not None and not has_deadline(holder)",
        new="awaited is not None",
        tests=(LIMIT,),
    ),
    clause_9.scope(
        breaks="one reference that was not found means that somebody else may send",
        file="_sync/deadlocks/reach.py",
        old="                return None\n            if _has_weak",
        new="                if _counts is None:\n                    return None\n            if _has_weak",
        tests=(COULD_ACT,),
    ),
    clause_9.scope(
        breaks="who gives up by itself is no part of a deadlock",
        file="_sync/deadlocks/agents.py",
        old="None if ends else awaited_in(frames)",
        new="awaited_in(frames)",
        tests=(f"{NO_END}::test_who_gives_up_by_itself_does_not_wait_endlessly",),
    ),
    clause_9.thread(
        breaks="what a thread iterates over is had by it",
        file="_sync/deadlocks/frames.py",
        old="        if caller is not None and _iterates(caller, frame):",
        new="        if False:",
        tests=(f"{NO_END}::test_a_receiver_is_told_that_nobody_is_left_who_could_send",),
    ),
    clause_9.scope(
        breaks="a timer looks for coroutines that wait for a channel",
        file="_sync/channels/local_form.py",
        old="            patrol.begin(sleeper.adapter)",
        new="            pass",
        tests=(f"{NO_END}::test_a_ring_of_a_full_and_an_empty_channel_is_found",),
    ),
    clause_9.scope(
        breaks="a wait for an event that nobody else has ends",
        file="_sync/deadlocks/frames.py",
        old='    "Meeting._wait": _meeting,\n',
        new="",
        tests=(f"{NO_END}::test_who_waits_for_an_event_or_a_barrier_that_nobody_else_has_is_told",),
    ),
    clause_9.scope(
        breaks="a lock order is compared with those seen before, in any order",
        file="_sync/deadlocks/order.py",
        old="path = self._path(second, first)",
        new="path = self._path(first, second)",
        tests=("scope/test_lock_order.py::test_two_orders_of_two_locks_are_reported_once_with_both_lines",),
    ),
    clause_9.scope(
        breaks="locks that existed before the scope with debug=True are watched, too",
        file="_sync/deadlocks/order.py",
        old="            lock.tell()",
        new="            pass",
        tests=("scope/test_lock_order.py::test_two_orders_of_two_locks_are_reported_once_with_both_lines",),
    ),
    clause_9.process(
        breaks="a task that asks its scope for what needs its own limit is found",
        file="_sync/deadlocks/snapshot.py",
        old="                self._add_asker(agent)",
        new="                pass",
        tests=("test_9_limits_in_rings.py::test_a_thread_that_asks_for_what_needs_its_own_limit_is_found",),
    ),
    clause_9.scope(
        breaks="a permit of a coroutine that a task has started is not the task's own",
        file="_sync/deadlocks/snapshot.py",
        old="return context is None or at is permit or type(permit) is TaskPermit",
        new="return True",
        tests=(
            "test_9_limits_in_rings.py::test_a_limit_that_a_coroutine_holds_which_the_task_has_started_may_come_free",
        ),
    ),
    clause_9.scope(
        breaks="a coroutine that waits for a limit has a timer look for deadlocks",
        file="_sync/limit.py",
        old="            patrol.begin(loop)",
        new="            pass",
        tests=("test_9_limits_in_rings.py::test_a_ring_of_two_limits_is_found",),
    ),
    clause_9.scope(
        breaks="a wait that the body of a scope may cancel is not endless",
        file="_sync/deadlocks/snapshot.py",
        old="return None if is_task or key in",
        new="return None if key in",
        tests=(f"{NO_END}::test_a_wait_that_live_code_may_cancel_is_not_endless",),
    ),
    clause_9.scope(
        breaks="a wait that another task of the scope may cancel is not endless",
        file="_sync/deadlocks/snapshot.py",
        old="(holders | live[0]) - {key}",
        new="holders - {key}",
        tests=(f"{NO_END}::test_a_wait_that_live_code_may_cancel_is_not_endless",),
    ),
    clause_9.thread(
        breaks="a thread's wait for an item ends with its deadline",
        file="_sync/deadlocks/agents.py",
        old="ends = in_worker or (task is not None and task.deadline is not None)",
        new="ends = in_worker",
        tests=(f"{NO_END}::test_a_thread_with_a_deadline_is_no_part_of_a_deadlock",),
    ),
    clause_9.thread(
        breaks="a thread's wait for a lock ends with its deadline",
        file="_sync/locks/permits.py",
        old=" or has_deadline)",
        new=")",
        tests=(f"{NO_END}::test_a_thread_with_a_deadline_is_no_part_of_a_deadlock",),
    ),
    clause_9.thread(
        breaks="what a task with a deadline has asked for ends with it",
        file="_sync/deadlocks/agents.py",
        old="ends = ends or handle.deadline is not None",
        new="pass",
        tests=(f"{NO_END}::test_a_thread_with_a_deadline_is_no_part_of_a_deadlock",),
    ),
    clause_9.scope(
        breaks="who has the scope, or a cancel scope around it, may end a wait in it",
        file="_sync/deadlocks/snapshot.py",
        old="                if holders is None:\n                    return None\n",
        new="                if holders is None:\n                    continue\n",
        tests=(f"{NO_END}::test_who_has_a_scope_around_a_wait_may_end_it",),
    ),
    clause_9.scope(
        breaks="who has a weak reference may act",
        file="_sync/deadlocks/reach.py",
        old="            if _has_weak_references(found):",
        new="            if False:",
        tests=(f"{NO_END}::test_who_has_a_weak_reference_could_act",),
    ),
    clause_9.thread(
        breaks="where nobody can look no thread wakes to ask",
        file="_sync/deadlocks/patrol.py",
        old="        return NEVER\n    left",
        new="        pass\n    left",
        tests=(f"{NO_END}::test_a_look_takes_its_share_of_the_time_whoever_begins_to_wait",),
    ),
    clause_9.scope(
        breaks="looks take their share of the time though others begin to wait",
        file="_sync/deadlocks/patrol.py",
        old="_next if old == _before else _floor",
        new="_next if old == _before else 0.0",
        tests=(f"{NO_END}::test_a_look_takes_its_share_of_the_time_whoever_begins_to_wait",),
    ),
    clause_9.scope(
        breaks="a look asks no proxy for its class",
        file="_sync/deadlocks/reach.py",
        old="not issubclass(type(target), _LEAVES)",
        new="not isinstance(target, _LEAVES)",
        tests=(f"{NO_END}::test_a_look_runs_no_code_of_the_program_and_its_errors_reach_nobody",),
    ),
    clause_9.scope(
        breaks="an error of a look reaches no wait",
        file="_sync/deadlocks/patrol.py",
        old="    except Exception as error:\n        _note_failure(error)\n        return",
        new="    except OSError as error:\n        _note_failure(error)\n        return",
        tests=(f"{NO_END}::test_a_look_runs_no_code_of_the_program_and_its_errors_reach_nobody",),
    ),
    clause_9.thread(
        breaks="objects that are waited for may change while they are listed",
        file="_tasks/weak_sets.py",
        old="self._refs.copy().values()",
        new="self._refs.values()",
        tests=(f"{NO_END}::test_what_is_waited_for_may_change_while_another_thread_looks",),
    ),
    clause_9.process(
        breaks="a process that has a shared channel may send into it",
        file="_sync/deadlocks/remote.py",
        old="told = [self._has.get((pid, token)) for pid in seated]",
        new="told = list[set[Key] | None]()",
        tests=(ELSEWHERE, COULD_END_NESTED),
    ),
    clause_9.scope(
        breaks="who has a channel in a pickle, or through a fork, may send into it",
        file="_sync/shared/travel.py",
        old=" or words[seats.SPREAD]",
        new="",
        tests=(ELSEWHERE, f"{NO_END}::test_what_may_still_come_from_where_nobody_can_tell_means_no_deadlock"),
    ),
    clause_9.process(
        breaks="what an audit may find means that the wait has an end",
        file="_sync/shared/travel.py",
        old=" or seats.audit_is_due(page)",
        new="",
        tests=(f"{NO_END}::test_what_may_still_come_from_where_nobody_can_tell_means_no_deadlock",),
    ),
    clause_9.process(
        breaks="a worker that has not told who has it there may end the wait",
        file="_sync/deadlocks/remote.py",
        old="all_told = all(each is not None for each in told)",
        new="all_told = True",
        tests=(f"{IN_WORKERS}::test_who_could_end_the_wait_of_a_process_task_means_no_deadlock",),
    ),
    clause_9.process(
        breaks="what a worker has told of who has it there must still be true",
        file="_sync/deadlocks/look.py",
        old="            pids.update(*[found.relied_on.get(key, ()) for key in all_stuck])\n",
        new="",
        tests=(f"{IN_WORKERS}::test_who_could_end_the_wait_of_a_process_task_means_no_deadlock",),
    ),
    clause_9.process(
        breaks="a process task with a deadline does not wait for ever",
        file="_sync/deadlocks/agents.py",
        old="if task.deadline is None and not",
        new="if not",
        tests=(f"{IN_WORKERS}::test_who_could_end_the_wait_of_a_process_task_means_no_deadlock",),
    ),
    clause_9.process(
        breaks="a process task that alone has what it waits for is told",
        file="_sync/deadlocks/remote.py",
        old="if self._worker.post(frames.pack_payload(frames.NO_END",
        new="if self.error and self._worker.post(frames.pack_payload(frames.NO_END",
        tests=(f"{IN_WORKERS}::test_a_process_task_that_alone_has_what_it_waits_for_is_told",),
    ),
    clause_9.process(
        breaks="all of those on which a deadlock relies must have told that they still wait",
        file="_sync/deadlocks/look.py",
        old="all_stuck = reached(graph, ring[0])",
        new="all_stuck = ring",
        tests=(f"{BETWEEN}::test_who_has_another_permit_and_has_long_gone_on_is_no_part_of_a_deadlock",),
    ),
    clause_9.scope(
        breaks="an item that lies there ends the wait",
        file="_sync/shared/travel.py",
        old=" or form.has_come(wait)",
        new="",
        tests=(f"{NO_END}::test_an_item_that_the_loop_has_not_seen_yet_means_no_deadlock",),
    ),
    clause_9.process(
        breaks="idle workers let go of a channel that somebody waits for",
        file="_worker/received.py",
        old="channels[token] = channels[token].unmade()",
        new="pass",
        tests=(SHARED,),
    ),
    clause_9.process(
        breaks="a thread that waits for what was shared looks, too",
        file="_sync/deadlocks/patrol.py",
        old="        _asked = now + min(watch() or 0.0, _first())",
        new="        pass",
        tests=(SHARED,),
    ),
    clause_9.process(
        breaks="a task of the same scope in a worker may cancel what waits in a nested one",
        file="_sync/deadlocks/remote.py",
        old="            cancellers += more\n",
        new="",
        tests=(COULD_END_NESTED,),
    ),
    clause_9.process(
        breaks="a wait in a nested worker is told by the worker between",
        file="_sync/deadlocks/remote.py",
        old="    if pid != os.getpid():",
        new="    if False:",
        tests=(f"{NESTED}::test_a_task_that_a_process_or_thread_task_has_started_is_told",),
    ),
    clause_9.thread(
        breaks="a thread with a deadline does not wait for ever for its tasks",
        file="_sync/deadlocks/agents.py",
        old="is_task=task is not None and not ends",
        new="is_task=task is not None",
        tests=(f"{NO_END}::test_a_thread_with_a_deadline_has_no_tasks_that_wait_for_ever",),
    ),
    clause_9.loop(
        breaks="a group of asyncio around a wait could cancel it",
        file="_sync/deadlocks/agents.py",
        old="    return any(module_of(type(each)) in _CANCELS for each in owners)",
        new="    return False and owners",
        tests=(f"{NO_END}::test_who_has_a_scope_around_a_wait_may_end_it",),
    ),
    clause_9.scope(
        breaks="what a look has met does not count at the next one",
        file="_sync/deadlocks/agents.py",
        old="        del frame  #",
        new="        pass  #",
        tests=(f"{NO_END}::test_a_look_leaves_nothing_behind_that_hides_an_endless_wait",),
    ),
)
