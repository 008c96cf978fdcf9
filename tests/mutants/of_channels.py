"""Clause 9: what a channel promises about each item, and how its parts keep it."""

from __future__ import annotations

from tests.mutants.mutant import Clause

LOCAL = "test_9_channels_local.py"
BETWEEN = "test_9_channels_between_processes.py"
ENDS = "test_9_send_ends.py"
ITEMS = "test_9_channels_in_items.py"
STEPS = "test_9_channel_steps.py"
CTRL_C = "test_9_ctrl_c_in_locks.py"
RACES = "test_9_channel_races.py"
LIVING = f"{STEPS}::test_an_audit_waits_for_the_living_who_are_busy"
DEATHS = f"{STEPS}::test_a_death_before_any_line_loses_no_number_and_doubles_nothing"

clause_9 = Clause(9)

COMMUNICATION = (
    clause_9.scope(
        breaks="a woken waiter that leaves passes the wake on",
        file="_sync/channels/local_form.py",
        old="                _wake_one(queue)  # it was woken to look; another one must",
        new="                pass",
        tests=(f"{LOCAL}::test_a_woken_waiter_that_is_cancelled_passes_the_wake_on",),
    ),
    clause_9.scope(
        breaks="a loop that has ended does not swallow a wake",
        file="_sync/channels/local_form.py",
        old="    while queue and not queue.popleft().wake():\n        pass",
        new="    if queue:\n        queue.popleft().wake()",
        tests=(f"{LOCAL}::test_a_loop_that_has_ended_does_not_swallow_the_wake",),
    ),
    clause_9.thread(
        breaks="a sender queues up before it looks for room again",
        file="_sync/channels/local_form.py",
        old="            queue.append(sleeper)  # first: who receives after the look below sees it, and wakes it\n"
        "            waits = not (self.closed or self.moved or "
        "(len(self._items) < self.capacity if sending else self._items))\n"
        "            if not waits:\n                queue.pop()",
        new="            waits = not (self.closed or self.moved or "
        "(len(self._items) < self.capacity if sending else self._items))\n"
        "            if waits:\n                queue.append(sleeper)",
        tests=(f"{RACES}::test_room_that_comes_while_a_sender_queues_up_is_seen",),
    ),
    clause_9.thread(
        breaks="a receiver waits while the channel becomes shared",
        file="_sync/channels/local_form.py",
        old="        if self._mover in (0, get_ident()):",
        new="        if self._mover or True:",
        tests=(f"{RACES}::test_who_receives_while_the_channel_becomes_shared_gets_the_oldest_item",),
    ),
    clause_9.scope(
        breaks="a busy consumer gives the loop a turn",
        file="_sync/shared/calls.py",
        old="TURNS = 32",
        new="TURNS = 1 << 60",
        tests=(f"{LOCAL}::test_a_busy_consumer_gives_the_loop_a_turn_and_can_be_cancelled",),
    ),
    clause_9.thread(
        breaks="a cancellation wakes a thread that waits for a channel",
        file="_tasks/current.py",
        old="                    sleeper.interrupt()",
        new="                    pass",
        tests=(f"{LOCAL}::test_a_cancelled_thread_leaves_its_wait_at_once",),
    ),
    clause_9.thread(
        breaks="a cancellation wakes a thread that waits for a shared channel",
        file="_sync/channels/shared_form.py",
        old="            sleepers[bell] = task",
        new="            pass",
        tests=(f"{LOCAL}::test_a_cancelled_thread_leaves_its_wait_at_once",),
    ),
    clause_9.process(
        breaks="busy is said before the gate is looked at",
        file="_sync/shared/gate.py",
        old="            words[self._state] = self._rest + IN_USE  # first: who shuts the gate looks at it then\n"
        "            try:\n                if words[GATE]:\n"
        "                    self._wait_for_gate(self._state, self._rest)\n",
        new="            try:\n                if words[GATE]:\n"
        "                    self._wait_for_gate(self._state, self._rest)\n"
        "                words[self._state] = self._rest + IN_USE\n",
        tests=(LIVING,),
    ),
    clause_9.process(
        breaks="an audit waits for the living who are busy",
        file="_sync/shared/seats.py",
        old="            while IN_USE in _use(page):",
        new="            while False:",
        tests=(LIVING,),
    ),
    clause_9.process(
        breaks="a slot is filled before its number is passed on",
        file="_sync/channels/slots.py",
        old="        try:\n            for at, number in",
        new="        os.write(fds[3], records)\n        try:\n            for at, number in",
        tests=(DEATHS, LIVING),
    ),
    clause_9.process(
        breaks="a slot whose number is given back is marked empty",
        file="_sync/channels/slots.py",
        old="            words[HEADERS + 2 * number] = EMPTY\n        os.write(fds[1], records)\n",
        new="            pass\n        os.write(fds[1], records)\n",
        tests=(DEATHS, LIVING),
    ),
    clause_9.process(
        breaks="what is given back comes in the order in which it was sent",
        file="_sync/channels/audit.py",
        old="sorted([*filled, *again], key=lambda number: words[HEADERS + 2 * number])",
        new="[*filled, *again]",
        tests=(f"{STEPS}::test_what_was_given_back_comes_in_the_order_in_which_it_was_sent",),
    ),
    clause_9.process(
        breaks="an audit marks seats only once nobody else does",
        file="_sync/shared/seats.py",
        old="    words = page.words\n    with record_lock(page.page_fd, False) as held:\n",
        new="    words = page.words\n    found = _find_dead(page)\n    globals()['_find_dead'] = lambda page: found\n"
        "    with record_lock(page.page_fd, False) as held:\n",
        tests=(f"{STEPS}::test_an_audit_leaves_a_seat_alone_that_another_one_has_freed",),
    ),
    clause_9.process(
        breaks="a channel is not drained while an audit has its numbers",
        file="_sync/channels/slots.py",
        old="bool(self._in_turn(self._is_empty, None))",
        new="self._is_empty(None)",
        tests=(f"{STEPS}::test_a_channel_is_not_drained_while_an_audit_has_its_numbers",),
    ),
    clause_9.thread(
        breaks="a number that Ctrl-C took out of a pipe is put back",
        file="_sync/shared/gate.py",
        old="                words[DUE] = 1\n",
        new="                pass\n",
        tests=(f"{CTRL_C}::test_ctrl_c_at_any_instant_leaves_a_shared_channel_whole",),
    ),
    clause_9.process(
        breaks="a pipe always has room for the numbers",
        file="_sync/shared/pipes.py",
        old="    size = 4096 * (2 * -(-capacity // _PAGE_NUMBERS) + 2)",
        new="    size = 4096 * -(-capacity // _PAGE_NUMBERS)",
        tests=(f"{STEPS}::test_a_pipe_always_has_room_for_the_numbers",),
    ),
    clause_9.process(
        breaks="what a dead receiver had taken out is counted",
        file="_sync/channels/slots.py",
        old="        words[self._state] = self._rest + (IN_USE | len(numbers) << TAKING)\n",
        new="",
        tests=(DEATHS, f"{BETWEEN}::test_what_a_dead_receiver_had_taken_out_is_counted"),
    ),
    clause_9.process(
        breaks="a send end ends with the task that it was passed to",
        file="_tasks/task.py",
        old="                one.task_ended(self.id)",
        new="                pass",
        tests=(f"{ENDS}::test_a_task_that_fails_ends_its_send_end_though_its_error_is_kept",),
    ),
    clause_9.process(
        breaks="the death of the process that opened a send end ends it",
        file="_sync/channels/slots.py",
        old="        close_ends_of_dead(self.memory)\n",
        new="",
        tests=(f"{ENDS}::test_the_death_of_its_process_ends_a_send_end",),
    ),
    clause_9.process(
        breaks="a slot of one item whose number is given back is marked empty",
        file="_sync/channels/slots.py",
        old="            words[header] = EMPTY\n            os.write(memory.fds[1], record)\n",
        new="            os.write(memory.fds[1], record)\n",
        tests=(DEATHS, LIVING),
        only="receive_one",
    ),
    clause_9.process(
        breaks="a slot of one item is filled before its number is passed on",
        file="_sync/channels/slots.py",
        old="        (number,) = number_in(record)\n        at, header",
        new="        os.write(memory.fds[3], record)\n        (number,) = number_in(record)\n        at, header",
        tests=(DEATHS, LIVING),
        only="send_one",
    ),
    clause_9.process(
        breaks="busy is said before the gate is looked at for one item to send",
        file="_sync/channels/slots.py",
        old="        words[own] = IN_USE  # first, as in `_in_turn`\n        try:\n"
        "            if words[GATE]:\n                self._wait_for_gate(own, 0)\n"
        "            return self._put_one(data)",
        new="        try:\n            if words[GATE]:\n                self._wait_for_gate(own, 0)\n"
        "            words[own] = IN_USE\n            return self._put_one(data)",
        tests=(LIVING,),
        only="send_one",
    ),
    clause_9.process(
        breaks="busy is said before the gate is looked at for one item to receive",
        file="_sync/channels/slots.py",
        old="        words[own] = IN_USE  # first, as in `_in_turn`\n        try:\n"
        "            if words[GATE]:\n                self._wait_for_gate(own, 0)\n            try:\n"
        "                record",
        new="        try:\n            if words[GATE]:\n                self._wait_for_gate(own, 0)\n"
        "            words[own] = IN_USE\n            try:\n                record",
        tests=(LIVING,),
        only="receive_one",
    ),
    clause_9.process(
        breaks="a number that Ctrl-C took out of a pipe for one item to send is put back",
        file="_sync/channels/slots.py",
        old="        except BaseException:\n            words[DUE] = 1\n            raise\n",
        new="        except BaseException:\n            raise\n",
        tests=(f"{CTRL_C}::test_ctrl_c_at_any_instant_leaves_a_shared_channel_whole",),
        only="send",
    ),
    clause_9.process(
        breaks="a number that Ctrl-C took out of a pipe for one item to receive is put back",
        file="_sync/channels/slots.py",
        old="            if words[own] & IN_USE:\n                words[DUE] = 1\n",
        new="",
        tests=(f"{CTRL_C}::test_ctrl_c_at_any_instant_leaves_a_shared_channel_whole",),
        only="receive",
    ),
    clause_9.process(
        breaks="what a dead receiver had taken out as one item is counted",
        file="_sync/channels/slots.py",
        old="            words[own] = stamp - kind + IN_USE\n",
        new="",
        tests=(DEATHS,),
        only="receive_one",
    ),
    clause_9.process(
        breaks="an audit does not wait for the rebuilding of an item",
        file="_sync/channels/slots.py",
        old="            words[own] = stamp - kind\n",
        new="",
        tests=(f"{STEPS}::test_while_an_item_is_rebuilt_others_come_and_go_and_audits_go_on",),
    ),
    clause_9.process(
        breaks="the own word of a seat is that of one thread",
        file="_sync/channels/slots.py",
        old="        if get_ident() != self._thread or words[own]:\n            if not self._thread:\n"
        "                self._claim()\n            return (self",
        new="        if words[own]:\n            if not self._thread:\n                self._claim()\n"
        "            return (self",
        tests=(f"{STEPS}::test_a_thread_beside_leaves_the_word_of_the_one_that_needs_no_lock_alone",),
        only="receive_one",
    ),
    clause_9.process(
        breaks="when sending, the own word of a seat is that of one thread",
        file="_sync/channels/slots.py",
        old="        if get_ident() != self._thread or words[own]:\n            if not self._thread:\n"
        "                self._claim()\n            return bool(self",
        new="        if words[own]:\n            if not self._thread:\n                self._claim()\n"
        "            return bool(self",
        tests=(f"{STEPS}::test_a_thread_beside_leaves_the_word_of_the_one_that_needs_no_lock_alone",),
        only="send_one",
    ),
    clause_9.process(
        breaks="the own word of a seat serves one operation at a time",
        file="_sync/channels/slots.py",
        old="        if get_ident() != self._thread or words[own]:\n            if not self._thread:\n"
        "                self._claim()\n            return (self",
        new="        if get_ident() != self._thread:\n            if not self._thread:\n"
        "                self._claim()\n            return (self",
        tests=(DEATHS,),
        only="receive_beside",
    ),
    clause_9.process(
        breaks="when sending, the own word of a seat serves one operation at a time",
        file="_sync/channels/slots.py",
        old="        if get_ident() != self._thread or words[own]:\n            if not self._thread:\n"
        "                self._claim()\n            return bool(self",
        new="        if get_ident() != self._thread:\n            if not self._thread:\n"
        "                self._claim()\n            return bool(self",
        tests=(f"{STEPS}::test_while_an_item_is_rebuilt_others_come_and_go_and_audits_go_on",),
    ),
    clause_9.process(
        breaks="a channel is not drained while a thread without the lock sends",
        file="_sync/shared/seats.py",
        old="any(word & USE for word in states + _all(page, OWN))",
        new="any(word & USE for word in states)",
        tests=(f"{STEPS}::test_a_channel_is_not_drained_while_a_sender_is_in_the_midst_of_a_send",),
        only="send_one",
    ),
    clause_9.process(
        breaks="an audit waits for the thread without the lock, too",
        file="_sync/shared/seats.py",
        old="{word & USE for word in _all(page, STATE) + _all(page, OWN)}",
        new="{word & USE for word in _all(page, STATE)}",
        tests=(LIVING,),
        only="send_one",
    ),
    clause_9.process(
        breaks="an item that came back from a dead receiver is not counted as lost",
        file="_sync/channels/audit.py",
        old="bool(own) and own not in instants",
        new="bool(own)",
        tests=(DEATHS,),
        only="receive_one",
    ),
    clause_9.process(
        breaks="an item that came back has one owner",
        file="_sync/channels/slots.py",
        old="words[HEADERS + 2 * number + 1] = words[HEADERS + 2 * number + 1] & LENGTH | self._owner",
        new="words[HEADERS + 2 * number + 1] |= self._owner",
        tests=(f"{STEPS}::test_an_item_that_came_back_from_two_dead_receivers_is_not_lost",),
    ),
    clause_9.process(
        breaks="the seat of one that died with an item in its hand is kept for the audit",
        file="_sync/shared/seats.py",
        old="words[seat + STATE] or words[seat + OWN]",
        new="words[seat + STATE]",
        tests=(DEATHS,),
        only="receive_one",
    ),
    clause_9.process(
        breaks="a channel that only an item contains is kept for its receiver",
        file="_worker/passing.py",
        old="    _home[one.token] = one\n",
        new="",
        tests=(f"{ITEMS}::test_a_channel_that_its_sender_has_dropped_arrives",),
    ),
    clause_9.process(
        breaks="what nobody has any more is let go of",
        file="_worker/passing.py",
        old="            _home.pop(token, None)",
        new="            pass",
        tests=(f"{ITEMS}::test_a_request_brings_the_channel_for_its_answer",),
    ),
    clause_9.process(
        breaks="what a stream sends from the signal handler may bring a channel",
        file="_worker/cancel_signal.py",
        old="        self._read_mailbox(bytearray(frames.MESSAGE_MAX))",
        new="        if not self._busy:\n            self._read_mailbox(bytearray(frames.MESSAGE_MAX))",
        tests=(f"{ITEMS}::test_a_result_and_a_stream_item_bring_a_channel",),
    ),
)
