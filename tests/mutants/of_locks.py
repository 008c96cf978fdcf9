"""Clause 9: what locks, events, conditions, barriers and shared values promise, and how their parts keep it."""

from __future__ import annotations

from tests.mutants.mutant import Clause

LOCAL = "test_9_locks_local.py"
BETWEEN = "test_9_locks_between_processes.py"
CTRL_C = "test_9_ctrl_c_in_locks.py"

clause_9 = Clause(9)

LOCKS = (
    clause_9.scope(
        breaks="waiters for a lock are served first come, first served",
        file="_sync/locks/permit_queue.py",
        old="            self._queue.append(each)\n",
        new="            self._queue.appendleft(each)\n",
        tests=(f"{LOCAL}::test_waiters_are_served_first_come_first_served",),
    ),
    clause_9.scope(
        breaks="a woken waiter of a lock that leaves passes the wake on",
        file="_sync/locks/permit_queue.py",
        old="                pass\n            self._wake_head()\n",
        new="                pass\n",
        tests=(f"{LOCAL}::test_a_woken_waiter_that_is_cancelled_passes_the_wake_on",),
    ),
    clause_9.scope(
        breaks="a loop that has ended does not swallow the wake of a lock",
        file="_sync/locks/permit_queue.py",
        old="            if queue[0].woken or queue[0].wake():\n                return\n",
        new="            queue[0].wake()\n            return\n",
        tests=(f"{LOCAL}::test_a_loop_that_has_ended_does_not_swallow_the_wake",),
    ),
    clause_9.scope(
        breaks="only the holder of a permit gives it back",
        file="_sync/locks/semaphore.py",
        old="            if not had:\n",
        new="            if not had:\n                return\n",
        tests=(f"{LOCAL}::test_only_the_holder_releases_and_the_error_names_it",),
    ),
    clause_9.thread(
        breaks="what an ended thread task held passes on",
        file="_pools/thread/call.py",
        old="            task_ended()\n",
        new="            pass\n",
        tests=(f"{LOCAL}::test_what_an_ended_task_held_passes_on_with_a_warning",),
    ),
    clause_9.process(
        breaks="what an ended process task held passes on",
        file="_worker/run_calls.py",
        old="            task_ended()\n",
        new="            pass\n",
        tests=(f"{BETWEEN}::test_what_an_ended_task_held_passes_on",),
        only="process",
    ),
    clause_9.process(
        breaks="a waiter that Ctrl-C interrupts gives its seat up",
        file="_sync/locks/permits.py",
        old="        try:\n            self._join(each)\n            if task",
        new="        self._join(each)\n        try:\n            if task",
        tests=(f"{CTRL_C}::test_ctrl_c_just_after_a_waiter_has_queued_up_gives_its_seat_up",),
    ),
    clause_9.thread(
        breaks="an acquire that Ctrl-C interrupts has taken nothing",
        file="_sync/locks/permit_queue.py",
        old="                self._free += taken\n                if shared",
        new="                if shared",
        tests=(f"{CTRL_C}::test_ctrl_c_at_any_instant_loses_no_permit",),
    ),
    clause_9.thread(
        breaks="an acquire that Ctrl-C interrupts after its wait has taken nothing",
        file="_sync/locks/permits.py",
        old="                self._put_back(holder)\n            raise\n\n    def",
        new="                pass\n            raise\n\n    def",
        tests=(f"{CTRL_C}::test_ctrl_c_at_any_instant_loses_no_permit",),
    ),
    clause_9.thread(
        breaks="a release that Ctrl-C interrupts has released",
        file="_sync/locks/permit_queue.py",
        old="        if type(error) is not RuntimeError:\n            holder",
        new="        if False:\n            holder",
        tests=(f"{CTRL_C}::test_ctrl_c_at_any_instant_loses_no_permit",),
    ),
    clause_9.process(
        breaks="what a dead process held passes on",
        file="_sync/locks/shared_permits.py",
        old="            if holder and holder - 1 in dead:\n",
        new="            if False:\n",
        tests=(f"{BETWEEN}::test_what_a_dead_process_held_passes_on",),
    ),
    clause_9.process(
        breaks="a forked child does not own what its parent holds",
        file="_sync/locks/permits.py",
        old="        lock.forget()\n",
        new="        pass\n",
        tests=(f"{BETWEEN}::test_a_forked_child_does_not_own_what_its_parent_holds",),
    ),
    clause_9.scope(
        breaks="the notification of a cancelled waiter goes to the next one",
        file="_sync/locks/condition.py",
        old="        if told and not returns:\n            self._tell(1, GO)\n",
        new="",
        tests=(f"{LOCAL}::test_a_notification_of_a_cancelled_waiter_goes_to_the_next_one",),
    ),
    clause_9.process(
        breaks="the death of a waiter breaks a barrier",
        file="_sync/locks/shared_meeting.py",
        old="                        if words[PARTIES] and not told:\n                            words[FLAG] = 1\n",
        new="                        if words[PARTIES] and not told:\n                            pass\n",
        tests=(f"{BETWEEN}::test_the_death_of_a_waiter_breaks_a_barrier_and_strikes_out_a_ticket",),
        only="barrier",
    ),
    clause_9.process(
        breaks="setting a shared value takes what was added into account",
        file="_sync/locks/value.py",
        old="-fsum(parts) if self._is_float else -sum(parts)",
        new="0",
        tests=(f"{BETWEEN}::test_nothing_that_processes_add_is_lost",),
    ),
    clause_9.thread(
        breaks="a cancellation wakes a thread that waits for a lock",
        file="_sync/locks/permits.py",
        old="                sleepers[each] = task",
        new="                pass",
        tests=(f"{LOCAL}::test_a_cancelled_waiter_leaves_at_once_and_the_next_one_is_served",),
    ),
    clause_9.thread(
        breaks="a cancellation wakes a thread that waits for a shared lock",
        file="_sync/locks/shared_permits.py",
        old="                sleepers[bell] = task",
        new="                pass",
        tests=(f"{LOCAL}::test_a_cancelled_waiter_leaves_at_once_and_the_next_one_is_served",),
    ),
    clause_9.thread(
        breaks="a cancellation wakes a thread that waits for an event",
        file="_sync/locks/meeting.py",
        old="            sleepers[ticket] = task",
        new="            pass",
        tests=(f"{LOCAL}::test_a_cancelled_waiter_leaves_an_event_at_once",),
    ),
    clause_9.thread(
        breaks="a cancellation wakes a thread that waits for a shared event",
        file="_sync/locks/shared_meeting.py",
        old="            sleepers[bell] = task",
        new="            pass",
        tests=(f"{LOCAL}::test_a_cancelled_waiter_leaves_an_event_at_once",),
    ),
)
