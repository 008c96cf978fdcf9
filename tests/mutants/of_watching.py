"""Clause 11: what is promised of programs that are watched, and of those that are not."""

from __future__ import annotations

from tests.mutants.mutant import Clause

DASHBOARD = "observe/test_dashboard.py"
TREE = "observe/test_tree.py"
EVENTS = "observe/test_events.py"
NAMED = "observe/test_named_sockets.py"

clause_11 = Clause(11)

WATCHING = (
    clause_11.scope(
        breaks="without a listener for steps none is built",
        file="observe/recording/ring.py",
        old="extend if any(moves for _, moves in self._subscribers.values()) else None",
        new="extend if self._subscribers else None",
        tests=(f"{EVENTS}::test_without_moves_no_step_is_built",),
    ),
    clause_11.scope(
        breaks="no event is lost that a site tells while the list is taken",
        file="observe/recording/ring.py",
        old="                    if not wait:\n                        return",
        new="                    if not wait:\n                        break",
        tests=(f"{EVENTS}::test_what_a_site_tells_while_the_list_is_taken_comes_with_the_next_one",),
    ),
    clause_11.scope(
        breaks="a listener that raises is called no more",
        file="observe/recording/watch.py",
        old="            if batch and not self._call(batch):",
        new="            if batch and not self._call(batch) and False:",
        tests=(f"{EVENTS}::test_a_listener_that_raises_is_logged_and_called_no_more",),
    ),
    clause_11.process(
        breaks="the worker that was killed for a task is told",
        file="_pools/process/cancellation.py",
        old='                events.emit(events.WORKER_KILLED, worker.pid, task.event_id, "grace")',
        new="                pass",
        tests=(f"{EVENTS}::test_a_cancelled_task_that_does_not_end_has_its_worker_killed",),
    ),
    clause_11.scope(
        breaks="the socket is for one user",
        file="observe/live/door.py",
        old="os.fchmod(sock.fileno(), 0o600)",
        new="os.fchmod(sock.fileno(), 0o666)",
        tests=(f"{TREE}::test_the_socket_is_of_this_user_alone_and_has_no_name",),
    ),
    clause_11.scope(
        breaks="the socket has no name",
        file="observe/live/door.py",
        old="            os.unlink(path)",
        new="            pass",
        tests=(f"{TREE}::test_the_socket_is_of_this_user_alone_and_has_no_name",),
    ),
    clause_11.scope(
        breaks="a viewer that stops reading is let go",
        file="observe/live/talk.py",
        old="            if time.monotonic() - viewer.moved_at > STUCK_SECONDS:",
        new="            if False:",
        tests=(f"{TREE}::test_a_viewer_that_stops_reading_is_let_go_and_delays_no_task",),
    ),
    clause_11.scope(
        breaks="nothing is cancelled by a viewer of a program that has not allowed it",
        file="observe/live/control.py",
        old="    if not _allowed:",
        new="    if False:",
        tests=(f"{DASHBOARD}::test_a_program_is_controlled_only_if_it_has_said_so",),
    ),
    clause_11.scope(
        breaks="a name that leads to 127.0.0.1 is no way into the dashboard",
        file="observe/viewer/server.py",
        old='        if request.headers.get("Host") not in hosts:',
        new="        if False:",
        tests=(f"{DASHBOARD}::test_a_page_of_another_site_is_refused_even_with_the_key",),
    ),
    clause_11.scope(
        breaks="the dashboard tells nothing without its key",
        file="observe/viewer/server.py",
        old='        if request.path != "/" and not hmac.compare_digest',
        new='        if request.path == "" and not hmac.compare_digest',
        tests=(f"{DASHBOARD}::test_nothing_is_told_without_the_key",),
    ),
    clause_11.scope(
        breaks="a slow holder is not a deadlock",
        file="observe/live/rings.py",
        old="else not all(each in dead for each in enders)",
        new="else not any(each in dead for each in enders)",
        tests=(f"{TREE}::test_a_ring_is_what_nobody_outside_can_end",),
    ),
    clause_11.scope(
        breaks="no escape sequence of a name reaches the terminal",
        file="observe/live/text.py",
        old='char if char.isprintable() and unicodedata.category(char) != "Cf" else',
        new="char if True else",
        tests=(f"{TREE}::test_hostile_text_is_made_plain",),
    ),
    clause_11.scope(
        breaks="a socket with a name is for one user",
        file="observe/live/named.py",
        old="    os.chmod(place, 0o600)",
        new="    os.chmod(place, 0o666)",
        tests=(f"{NAMED}::test_it_is_of_this_user_alone_and_gone_with_its_program",),
    ),
    clause_11.scope(
        breaks="another user cannot put anything where the sockets are",
        file="observe/live/named.py",
        old="found.st_mode & 0o077",
        new="False",
        tests=(f"{NAMED}::test_a_planted_folder_is_refused_and_the_program_goes_on",),
    ),
    clause_11.scope(
        breaks="a link in the place of the folder is not followed",
        file="observe/live/named.py",
        old="found = os.lstat(path)",
        new="found = os.stat(path)",
        tests=(f"{NAMED}::test_a_planted_folder_is_refused_and_the_program_goes_on",),
    ),
    clause_11.scope(
        breaks="a path that exists is replaced",
        file="observe/live/named.py",
        old="    _remove(place)  # left by",
        new="    pass  # left by",
        tests=(f"{NAMED}::test_a_path_that_exists_is_replaced_and_not_followed",),
    ),
    clause_11.scope(
        breaks="the next list of programs removes what a killed one left",
        file="observe/live/named.py",
        old="            _remove(place)\n",
        new="            pass\n",
        tests=(f"{NAMED}::test_what_a_killed_program_left_is_removed_by",),
    ),
    clause_11.scope(
        breaks="a forked child leaves the socket to its parent",
        file="observe/live/named.py",
        old="        if os.getpid() != self._pid:",
        new="        if False:",
        tests=(f"{NAMED}::test_a_fork_leaves_the_socket_to_its_parent",),
    ),
    clause_11.scope(
        breaks="a program that ends while its socket gets a name leaves none",
        file="observe/live/named.py",
        old="        with self._lock:\n            self._ended = True",
        new="        with allocate_lock():\n            self._ended = True",
        tests=(f"{NAMED}::test_a_program_that_ends_while_its_socket_gets_a_name_leaves_none",),
    ),
    clause_11.scope(
        breaks="a page of another origin is refused",
        file="observe/viewer/server.py",
        old="        if origin is not None and origin not in",
        new="        if False and origin not in",
        tests=(f"{DASHBOARD}::test_a_page_of_another_site_is_refused_even_with_the_key",),
    ),
    clause_11.scope(
        breaks="nothing is changed for a request without an origin",
        file="observe/viewer/server.py",
        old='        if request.method == "POST" and origin is None:',
        new="        if False:",
        tests=(f"{DASHBOARD}::test_control_needs_an_origin_and_a_program_that_is_there",),
    ),
    clause_11.scope(
        breaks="a program can hide itself",
        file="observe/first_scope.py",
        old='ALLOWED = os.environ.get("UNIFIED_EXEC_OBSERVE", "").strip().lower() not in ("0", "false", "no", "off")',
        new="ALLOWED = True",
        tests=(f"{TREE}::test_a_program_can_hide_itself",),
    ),
    clause_11.scope(
        breaks="a viewer that sends nonsense is let go",
        file="observe/live/protocol.py",
        old='raise BadMessage(f"a message of {size} bytes")',
        new="return None",
        tests=(f"{TREE}::test_garbage_ends_that_connection_only",),
    ),
    clause_11.scope(
        breaks="another user who has connected is let go",
        file="observe/live/talk.py",
        old="return uid in (os.geteuid(), 0)",
        new="return True",
        tests=(f"{TREE}::test_who_has_connected_is_this_user_or_root",),
    ),
    clause_11.scope(
        breaks="another user is told nothing",
        file="observe/live/talk.py",
        old="        if not allowed(sock):",
        new="        if False:",
        tests=(f"{TREE}::test_one_who_is_not_allowed_is_told_nothing",),
    ),
)
