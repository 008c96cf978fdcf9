"""Clauses 6, 7 and 8: crashes, head-of-line blocking, and what is safe by default."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CRASHES = "test_6_crashes.py"
STARTING = "test_6_starting.py"
DISPATCH = "test_7_dispatch.py"
FAIRNESS = "test_7_fairness.py"
THREADS = "test_7_threads.py"
STREAMS = "test_8_streams.py"
WORKERS = "test_8_workers_and_exit.py"
PARENT = "test_8_parent_death.py"
FORK = "test_8_fork.py"
MAIN = "test_8_main_module.py"
SENT_AHEAD = f"{CRASHES}::test_of_tasks_sent_ahead_only_the_one_that_had_started_fails_and_none_runs_twice"

CRASH = (
    Mutant(
        clause=6,
        place="process",
        breaks="the task that had started fails",
        file="_backends/process/burial.py",
        old="lost, unclaimed = lost[:first], lost[first:] + unclaimed",
        new="lost, unclaimed = [], lost + unclaimed",
        tests=(f"{CRASHES}::test_a_worker_killed_while_it_is_busy_costs_the_task_it_runs",),
    ),
    Mutant(
        clause=6,
        place="process",
        breaks="tasks that had not started run elsewhere",
        file="_backends/process/burial.py",
        old="lost, unclaimed = lost[:first], lost[first:] + unclaimed",
        new="lost, unclaimed = lost + unclaimed, []",
        tests=(SENT_AHEAD,),
    ),
    Mutant(
        clause=6,
        place="process",
        breaks="results that were finished are kept",
        file="_backends/process/crew.py",
        old="        self.hear(worker)\n        if worker not in self.workers:\n            return  # settling",
        new="        if worker not in self.workers:\n            return  # settling",
        tests=(
            f"{CRASHES}::test_answers_that_are_first_seen_when_the_worker_is_dead_are_kept",
            f"{CRASHES}::test_results_that_were_finished_before_the_death_are_kept",
        ),
    ),
    Mutant(
        clause=6,
        place="process",
        breaks="the error says how the worker died",
        file="_backends/process/worker.py",
        old="code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])",
        new="code = os.waitpid(self.pid, 0)[1] and None",
        tests=(f"{CRASHES}::test_the_death_of_a_worker_fails_its_task_and_says_how",),
    ),
    Mutant(
        clause=6,
        place="process",
        breaks="the pool goes on at full strength",
        file="_backends/process/burial.py",
        old="    crew.pool.forget(worker)\n",
        new="",
        tests=(f"{CRASHES}::test_every_worker_may_die_again_and_again_and_the_pool_stays_at_full_strength",),
    ),
    Mutant(
        clause=6,
        place="process-coroutine",
        breaks="a dying worker fails every coroutine it ran",
        file="_backends/process/burial.py",
        old="    if not crew.coroutines:",
        new="    if True:",
        tests=(f"{CRASHES}::test_a_dying_coroutine_worker_fails_every_coroutine_it_ran_and_no_other",),
    ),
    Mutant(
        clause=6,
        place="process",
        breaks="a worker that dies while it starts is not started again without end",
        file="_backends/process/crew.py",
        old="        self.failed_starts += 1",
        new="        self.failed_starts += 0",
        tests=(f"{STARTING}::test_a_death_while_starting_fails_the_waiting_tasks_and_ends_the_tries",),
    ),
    Mutant(
        clause=6,
        place="process",
        breaks="a failing initializer fails the waiting tasks",
        file="_backends/process/crew.py",
        old="        self.failed_starts = START_TRIES\n",
        new="",
        tests=(f"{STARTING}::test_a_start_that_fails_beside_a_busy_worker_is_not_tried_without_end",),
    ),
    Mutant(
        clause=6,
        place="process",
        breaks="the error of a failing initializer says what it raised",
        file="_worker/main.py",
        old='raise WorkerStartError(f"its initializer raised {type(exc).__name__}: {exc}") from exc',
        new='raise WorkerStartError("its initializer failed") from None',
        tests=(f"{STARTING}::test_a_failing_initializer_fails_the_waiting_tasks_with_its_cause",),
    ),
)

HEAD_OF_LINE = (
    Mutant(
        clause=7,
        place="process",
        breaks="what waits behind a long task is taken back",
        file="_backends/process/crew.py",
        old="        if self.idle or len(self.workers) < self.pool.max_workers:\n            now",
        new="        if False:\n            now",
        tests=(
            f"{DISPATCH}::test_short_tasks_do_not_wait_behind_a_long_one_while_another_worker_is_free",
            f"{DISPATCH}::test_what_waits_behind_a_long_task_moves_when_another_worker_becomes_free",
        ),
    ),
    Mutant(
        clause=7,
        place="process",
        breaks="every event loop that has work owns a worker",
        file="_backends/process/pool.py",
        old="if crew.workers and self._lent(crew.coroutines) >= self.max_workers:",
        new="if self._lent(crew.coroutines) >= self.max_workers:",
        tests=(f"{DISPATCH}::test_two_event_loops_share_a_pool",),
    ),
    Mutant(
        clause=7,
        place="process",
        breaks="an event loop lends its idle workers to another",
        file="_backends/process/pool.py",
        old="                self._ask_others(crew)\n",
        new="",
        tests=(f"{DISPATCH}::test_two_event_loops_lend_each_other_their_idle_workers",),
    ),
    Mutant(
        clause=7,
        place="scope",
        breaks="scopes take turns",
        file="_rules/fairness.py",
        old="            turns.rotate(-1)",
        new="            pass",
        tests=(f"{FAIRNESS}::test_a_single_task_waits_for_a_few_of_another_scopes_tasks_only",),
    ),
    Mutant(
        clause=7,
        place="process-coroutine",
        breaks="a coroutine does not wait for another in the same worker",
        file="_backends/process/crew.py",
        old="COROUTINES_MAX = 1000",
        new="COROUTINES_MAX = 1",
        tests=(f"{DISPATCH}::test_more_coroutines_than_a_socket_holds_all_start",),
    ),
    Mutant(
        clause=7,
        place="thread",
        breaks="a task does not wait behind another while there is room for a thread",
        file="_backends/thread.py",
        old="            other = None if self._summoning or not self.turns.waiting() else self.summon()",
        new="            other = None",
        tests=(f"{THREADS}::test_as_many_tasks_run_at_once_as_the_pool_has_threads",),
    ),
    Mutant(
        clause=7,
        place="thread",
        breaks="every event loop that has work gets a thread",
        file="_backends/_thread_turns.py",
        old="        if not lane.running and self.busy >= self.max_workers:\n            self._starving.append(lane)",
        new="",
        tests=(f"{THREADS}::test_every_event_loop_that_has_work_gets_a_thread_though_another_holds_all",),
    ),
    Mutant(
        clause=7,
        place="thread",
        breaks="nested work never starves",
        file="_backends/_thread_turns.py",
        old="        if parent is not None:\n",
        new="        if False:\n",
        tests=(f"{THREADS}::test_nested_tasks_run_while_their_parents_hold_every_thread",),
    ),
)

SAFE = (
    Mutant(
        clause=8,
        place="process",
        breaks="workers ignore Ctrl-C",
        file="_worker/main.py",
        old="    _signal.signal(_signal.SIGINT, lambda signum, frame: None)\n",
        new="",
        tests=(f"{WORKERS}::test_a_busy_worker_ignores_ctrl_c",),
    ),
    Mutant(
        clause=8,
        place="process",
        breaks="workers die with a parent that is killed",
        file="_worker/system.py",
        old="flags | os.O_ASYNC",
        new="flags",
        tests=(f"{PARENT}::test_workers_and_their_children_die_with_a_parent_that_is_killed",),
    ),
    Mutant(
        clause=8,
        place="process",
        breaks="a fork of the parent keeps no worker alive",
        file="_backends/process/start.py",
        old="        lifeline.close()",
        new="        pass",
        tests=(f"{FORK}::test_a_fork_in_the_midst_of_a_start_does_not_keep_that_worker_alive",),
        only="",
    ),
    Mutant(
        clause=8,
        place="process",
        breaks="stdin of a worker is empty",
        file="_backends/process/start.py",
        old="    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [\n"
        "        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)\n    ]",
        new="    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []",
        tests=(f"{STREAMS}::test_stdin_of_a_task_is_empty_and_the_programs_own_stays_whole",),
        only="",
    ),
    Mutant(
        clause=8,
        place="process",
        breaks="what a task prints is seen before its answer",
        file="_worker/calls.py",
        old="        answers.flush()\n",
        new="",
        tests=(f"{STREAMS}::test_what_tasks_print_goes_to_the_programs_own_streams_before_their_answer",),
    ),
    Mutant(
        clause=8,
        place="process-coroutine",
        breaks="what a coroutine in a process prints is seen before its answer",
        file="_worker/coroutines.py",
        old="        answers.flush()\n",
        new="",
        tests=(f"{STREAMS}::test_what_tasks_print_goes_to_the_programs_own_streams_before_their_answer",),
    ),
    Mutant(
        clause=8,
        place="process",
        breaks="no main guard is needed",
        file="_wire/codec.py",
        old='    if data.find(b"_main__") >= 0:',
        new="    if False:",
        tests=(f"{MAIN}::test_a_script_needs_no_main_guard_and_runs_once",),
    ),
    Mutant(
        clause=8,
        place="process",
        breaks="workers inherit no descriptor of the program",
        file="_worker/main.py",
        old="    os.closerange(STATUS_FD + 1, min(system.descriptors_max(), _DESCRIPTORS_MAX))\n",
        new="",
        tests=(f"{MAIN}::test_nothing_is_left_in_shared_memory_in_temporary_folders_or_listening",),
        only="",
    ),
    Mutant(
        clause=8,
        place="process",
        breaks="a process with threads is never forked",
        file="_backends/process/start.py",
        old="        return os.posix_spawn(\n",
        new="        os.fork() or os._exit(0)\n        return os.posix_spawn(\n",
        tests=(f"{WORKERS}::test_a_process_with_threads_is_never_forked",),
    ),
    Mutant(
        clause=8,
        place="thread",
        breaks="the end of the program waits for no thread",
        file="_backends/thread.py",
        old="            start_new_thread(self._thread, (seat,))  # threading.Thread.start would wait for it",
        new="            threading.Thread(target=self._thread, args=(seat,)).start()",
        tests=(f"{WORKERS}::test_the_end_of_the_program_does_not_wait_for_an_abandoned_thread",),
    ),
    Mutant(
        clause=8,
        place="scope",
        breaks="the end of the program waits for what executors were given",
        file="executor/_exit.py",
        old="        executor.shutdown(wait=True)",
        new="        pass",
        tests=(f"{WORKERS}::test_the_end_of_the_program_waits_for_what_executors_were_given",),
        only="",
    ),
)
