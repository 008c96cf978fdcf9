"""Clause 11: what is promised of programs that are watched, and of those that are not."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

DASHBOARD = "observe/test_dashboard.py"
TREE = "observe/test_tree.py"
EVENTS = "observe/test_events.py"

WATCHING = (
    Mutant(
        clause=11,
        place="scope",
        breaks="without a listener for steps none is built",
        file="observe/recording/ring.py",
        old="append if any(moves for _, moves in self._subscribers.values()) else None",
        new="append if self._subscribers else None",
        tests=(f"{EVENTS}::test_without_moves_no_step_is_built",),
    ),
    Mutant(
        clause=11,
        place="scope",
        breaks="a listener that raises is called no more",
        file="observe/recording/watch.py",
        old="            if batch and not self._call(batch):",
        new="            if batch and not self._call(batch) and False:",
        tests=(f"{EVENTS}::test_a_listener_that_raises_is_logged_and_called_no_more",),
    ),
    Mutant(
        clause=11,
        place="process",
        breaks="the worker that was killed for a task is told",
        file="_pools/process/cancellation.py",
        old='                events.emit(events.WORKER_KILLED, worker.pid, task.event_id, "grace")',
        new="                pass",
        tests=(f"{EVENTS}::test_a_cancelled_task_that_does_not_end_has_its_worker_killed",),
    ),
    Mutant(
        clause=11,
        place="scope",
        breaks="the socket is for one user",
        file="observe/live/door.py",
        old="os.fchmod(sock.fileno(), 0o600)",
        new="os.fchmod(sock.fileno(), 0o666)",
        tests=(f"{TREE}::test_the_socket_is_of_this_user_alone_and_has_no_name",),
    ),
    Mutant(
        clause=11,
        place="scope",
        breaks="the socket has no name",
        file="observe/live/door.py",
        old="            os.unlink(path)",
        new="            pass",
        tests=(f"{TREE}::test_the_socket_is_of_this_user_alone_and_has_no_name",),
    ),
    Mutant(
        clause=11,
        place="scope",
        breaks="a viewer that stops reading is let go",
        file="observe/live/talk.py",
        old="            if time.monotonic() - viewer.moved_at > STUCK_SECONDS:",
        new="            if False:",
        tests=(f"{TREE}::test_a_viewer_that_stops_reading_is_let_go_and_delays_no_task",),
    ),
    Mutant(
        clause=11,
        place="scope",
        breaks="nothing is cancelled by a viewer of a program that has not allowed it",
        file="observe/live/control.py",
        old="    if not _allowed:",
        new="    if False:",
        tests=(f"{DASHBOARD}::test_a_program_is_controlled_only_if_it_has_said_so",),
    ),
    Mutant(
        clause=11,
        place="scope",
        breaks="a name that leads to 127.0.0.1 is no way into the dashboard",
        file="observe/viewer/server.py",
        old='        if request.headers.get("Host") not in hosts:',
        new="        if False:",
        tests=(f"{DASHBOARD}::test_a_page_of_another_site_is_refused_even_with_the_key",),
    ),
    Mutant(
        clause=11,
        place="scope",
        breaks="the dashboard tells nothing without its key",
        file="observe/viewer/server.py",
        old='        if request.path != "/" and not hmac.compare_digest',
        new='        if request.path == "" and not hmac.compare_digest',
        tests=(f"{DASHBOARD}::test_nothing_is_told_without_the_key",),
    ),
    Mutant(
        clause=11,
        place="scope",
        breaks="a slow holder is not a deadlock",
        file="observe/live/rings.py",
        old="else not all(each in dead for each in enders)",
        new="else not any(each in dead for each in enders)",
        tests=(f"{TREE}::test_a_ring_is_what_nobody_outside_can_end",),
    ),
    Mutant(
        clause=11,
        place="scope",
        breaks="no escape sequence of a name reaches the terminal",
        file="observe/live/text.py",
        old='char if char.isprintable() and unicodedata.category(char) != "Cf" else',
        new="char if True else",
        tests=(f"{TREE}::test_hostile_text_is_made_plain",),
    ),
)
