"""Clauses 6, 7 and 8: crashes, head-of-line blocking, and what is safe by default."""

from __future__ import annotations

from tests.mutants.mutant import Clause

CRASHES = "test_6_crashes.py"
STARTING = "test_6_starting.py"
DISPATCH = "test_7_dispatch.py"
FAIRNESS = "test_7_fairness.py"
THREADS = "test_7_threads.py"
STREAMS = "test_8_streams.py"
WORKERS = "test_8_workers_and_exit.py"
PARENT = "test_8_parent_death.py"
FORK = "test_8_fork.py"
FORKED = "test_8_forked_workers.py"
MAIN = "test_8_main_module.py"
SENT_AHEAD = f"{CRASHES}::test_of_tasks_sent_ahead_only_the_one_that_had_started_fails_and_none_runs_twice"

clause_6 = Clause(6)
clause_7 = Clause(7)
clause_8 = Clause(8)

CRASH = (
    clause_6.process(
        breaks="the task that had started fails",
        file="_pools/process/reap.py",
        old="lost, claimed = lost[:first], lost[first:]",
        new="lost, claimed = [], lost",
        tests=(f"{CRASHES}::test_a_worker_killed_while_it_is_busy_costs_the_task_it_runs",),
    ),
    clause_6.process(
        breaks="tasks that had not started run elsewhere",
        file="_pools/process/reap.py",
        old="        unclaimed = claimed + unclaimed",
        new="        lost, unclaimed = lost + claimed + unclaimed, []",
        tests=(SENT_AHEAD,),
    ),
    clause_6.process(
        breaks="results that were finished are kept",
        file="_pools/process/worker_watcher.py",
        old="        self.answers.read_all(worker)\n        if worker not in self._workers:\n"
        "            return  # settling",
        new="        if worker not in self._workers:\n            return  # settling",
        tests=(
            f"{CRASHES}::test_answers_that_are_first_seen_when_the_worker_is_dead_are_kept",
            f"{CRASHES}::test_results_that_were_finished_before_the_death_are_kept",
        ),
    ),
    clause_6.process(
        breaks="the error says how the worker died",
        file="_platform/process_control.py",
        old="        return code if found.si_code == os.CLD_EXITED else -code\n",
        new="        return None\n",
        tests=(f"{CRASHES}::test_the_death_of_a_worker_fails_its_task_and_says_how",),
    ),
    clause_6.process(
        breaks="the pool goes on at full strength",
        file="_pools/process/reap.py",
        old="    registry.forget(worker)\n",
        new="",
        tests=(f"{CRASHES}::test_every_worker_may_die_again_and_again_and_the_pool_stays_at_full_strength",),
    ),
    clause_6.process_coroutine(
        breaks="a dying worker fails every coroutine it ran",
        file="_pools/process/reap.py",
        old="    if not group.kind.concurrent:",
        new="    if True:",
        tests=(f"{CRASHES}::test_a_dying_coroutine_worker_fails_every_coroutine_it_ran_and_no_other",),
    ),
    clause_6.process(
        breaks="a worker that dies while it starts is not started again without end",
        file="_pools/process/start_retry.py",
        old="        self.failures += 1",
        new="        self.failures += 0",
        tests=(f"{STARTING}::test_a_death_while_starting_fails_the_waiting_tasks_and_ends_the_tries",),
    ),
    clause_6.process(
        breaks="workers that die while they start fail what was sent ahead to another",
        file="_pools/process/start_retry.py",
        old="            if worker.connection.state is protocol.STARTING:  # its tasks",
        new="            if False:  # its tasks",
        tests=(f"{STARTING}::test_a_death_while_starting_fails_the_waiting_tasks_and_ends_the_tries",),
    ),
    clause_6.process(
        breaks="next to a busy worker a failed start is tried again only after a pause",
        file="_pools/process/start_retry.py",
        old="return self._pausing or self.failures >= TRIES",
        new="return self.failures >= TRIES",
        tests=(
            f"{STARTING}::test_next_to_a_busy_worker_a_start_that_failed_is_tried_again_after_longer_and_longer_pauses",
        ),
    ),
    clause_6.process(
        breaks="the error of a failing initializer says what it raised",
        file="_worker/main.py",
        old='raise WorkerStartError(f"its initializer raised {type(exc).__name__}: {text_of(exc)}") from exc',
        new='raise WorkerStartError("its initializer failed") from None',
        tests=(f"{STARTING}::test_a_failing_initializer_fails_the_waiting_tasks_with_its_cause",),
    ),
)

HEAD_OF_LINE = (
    clause_7.process(
        breaks="what waits behind a long task is taken back",
        file="_pools/process/rebalance.py",
        old="        if group.idle or len(group.workers) < self._registry.spec.max_workers:\n            now",
        new="        if False:\n            now",
        tests=(
            f"{DISPATCH}::test_short_tasks_do_not_wait_behind_a_long_one_while_another_worker_is_free",
            f"{DISPATCH}::test_what_waits_behind_a_long_task_moves_when_another_worker_becomes_free",
        ),
    ),
    clause_7.process(
        breaks="every event loop that has work owns a worker",
        file="_pools/process/worker_registry.py",
        old="if group.workers and self._lent[group.kind] >= self.spec.max_workers and not self._may_add(group):",
        new="if self._lent[group.kind] >= self.spec.max_workers:",
        tests=(f"{DISPATCH}::test_two_event_loops_share_a_pool",),
    ),
    clause_7.process(
        breaks="an event loop lends its idle workers to another",
        file="_pools/process/worker_registry.py",
        old="                self._ask_others(group)\n",
        new="",
        tests=(f"{DISPATCH}::test_two_event_loops_lend_each_other_their_idle_workers",),
    ),
    clause_7.scope(
        breaks="scopes take turns",
        file="_rules/fair_queue.py",
        old="            turns.rotate(-1)",
        new="            pass",
        tests=(f"{FAIRNESS}::test_a_single_task_waits_for_a_few_of_another_scopes_tasks_only",),
    ),
    clause_7.scope(
        breaks="a higher priority starts first",
        file="_rules/fair_queue.py",
        old="self._level_of(item.priority) if item.priority else self._usual",
        new="self._usual",
        tests=(f"{FAIRNESS}::test_a_task_of_a_higher_priority_does_not_wait_for_queued_ones",),
    ),
    clause_7.process_coroutine(
        breaks="a coroutine does not wait for another in the same worker",
        file="_pools/process/dispatcher.py",
        old="COROUTINES_MAX = 1000",
        new="COROUTINES_MAX = 1",
        tests=(f"{DISPATCH}::test_more_coroutines_than_a_socket_holds_all_start",),
    ),
    clause_7.thread(
        breaks="a task does not wait behind another while there is room for a thread",
        file="_pools/thread/scheduler.py",
        old="            self.send_thread()\n        finally:\n            lock.release()",
        new="            pass\n        finally:\n            lock.release()",
        tests=(f"{THREADS}::test_as_many_tasks_run_at_once_as_the_pool_has_threads",),
    ),
    clause_7.thread(
        breaks="a call that comes while another thread holds the pool's lock is run",
        file="_pools/thread/lane.py",
        old="        inbox.append(entry)",
        new="        pass",
        tests=(f"{THREADS}::test_a_burst_of_tasks_loses_none_while_another_loop_cancels",),
    ),
    clause_7.thread(
        breaks="every event loop that has work gets a thread",
        file="_pools/thread/queues.py",
        old="        if not lane.running and self.busy >= self.max_workers:\n            self._starving.append(lane)",
        new="",
        tests=(f"{THREADS}::test_every_event_loop_that_has_work_gets_a_thread_though_another_holds_all",),
    ),
    clause_7.thread(
        breaks="nested work never starves",
        file="_pools/thread/queues.py",
        old="        if parent is not None:\n",
        new="        if False:\n",
        tests=(f"{THREADS}::test_nested_tasks_run_while_their_parents_hold_every_thread",),
    ),
)

SAFE = (
    clause_8.process(
        breaks="workers ignore Ctrl-C",
        file="_worker/main.py",
        old="    _signal.signal(_signal.SIGINT, lambda signum, frame: None)\n",
        new="",
        tests=(f"{WORKERS}::test_a_busy_worker_ignores_ctrl_c",),
    ),
    clause_8.process(
        breaks="workers die with a parent that is killed",
        file="_platform/posix.py",
        old="flags | os.O_ASYNC",
        new="flags",
        tests=(f"{PARENT}::test_workers_and_their_children_die_with_a_parent_that_is_killed",),
    ),
    clause_8.process(
        breaks="a fork of the parent keeps no worker alive",
        file="_pools/process/start_worker.py",
        old="        lifeline.close()",
        new="        pass",
        tests=(f"{FORK}::test_a_fork_in_the_midst_of_a_start_does_not_keep_that_worker_alive",),
    ),
    clause_8.process(
        breaks="stdin of a worker is empty",
        file="_platform/process_control.py",
        old="    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [\n"
        "        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)\n    ]",
        new="    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []",
        tests=(f"{STREAMS}::test_stdin_of_a_task_is_empty_and_the_programs_own_stays_whole",),
    ),
    clause_8.process(
        breaks="what a task prints is seen before its answer",
        file="_worker/run_calls.py",
        old="        send_result.flush()\n",
        new="",
        tests=(f"{STREAMS}::test_what_tasks_print_goes_to_the_programs_own_streams_before_their_answer",),
    ),
    clause_8.process_coroutine(
        breaks="what a coroutine in a process prints is seen before its answer",
        file="_worker/run_coroutines.py",
        old="        send_result.flush()\n",
        new="",
        tests=(f"{STREAMS}::test_what_tasks_print_goes_to_the_programs_own_streams_before_their_answer",),
    ),
    clause_8.process(
        breaks="what a script defines goes by value",
        file="_wire/pickling/functions.py",
        old='module_names.in_pickle(payload) or module_names.goes_by_value(getattr(fn, "__module__", None))',
        new="False",
        tests=("unit/test_scripts.py::test_what_a_script_defines_in_main_works_and_the_script_runs_once",),
    ),
    clause_8.process(
        breaks="workers inherit no descriptor of the program",
        file="_worker/main.py",
        old="    os.closerange(STATUS_FD + 1, min(posix.descriptors_max(), _DESCRIPTORS_MAX))\n",
        new="",
        tests=(f"{MAIN}::test_nothing_is_left_in_shared_memory_in_temporary_folders_or_listening",),
    ),
    clause_8.process(
        breaks="a process with threads is never forked",
        file="_platform/process_control.py",
        old="        pid = os.posix_spawn(\n",
        new="        os.fork() or os._exit(0)\n        pid = os.posix_spawn(\n",
        tests=(f"{WORKERS}::test_a_process_with_threads_is_never_forked",),
    ),
    clause_8.thread(
        breaks="the end of the program waits for no thread",
        file="_pools/thread/scheduler.py",
        old="            start_new_thread(self._run_thread, (thread,))  # threading.Thread.start would wait for it",
        new="            threading.Thread(target=self._run_thread, args=(thread,)).start()",
        tests=(f"{WORKERS}::test_the_end_of_the_program_does_not_wait_for_an_abandoned_thread",),
    ),
    clause_8.scope(
        breaks="the end of the program waits for what executors were given",
        file="executor/_atexit.py",
        old="        executor.shutdown(wait=True)",
        new="        pass",
        tests=(f"{WORKERS}::test_the_end_of_the_program_waits_for_what_executors_were_given",),
    ),
    clause_6.process(
        breaks="a task at which each worker dies fails",
        file="_pools/process/reap.py",
        old="if claimed[0].fatal_claims >= FATAL_CLAIMS:",
        new="if False:",
        tests=("faults/test_hostile_errors.py::test_a_task_at_which_each_worker_dies_fails",),
    ),
    clause_8.process(
        breaks="the error says how a forked worker died",
        file="_pools/process/template.py",
        old="            return self._ask(pid, {})\n",
        new="            return self._ask(pid, {}) and None\n",
        tests=(f"{FORKED}::test_the_death_of_a_forked_worker_fails_its_task_and_says_how",),
    ),
    clause_8.process(
        breaks="a template that was killed or stopped costs no task",
        file="_pools/process/template.py",
        old="            return process_control.reap(pid, pidfd)\n",
        new="            raise\n",
        tests=(f"{FORKED}::test_a_template_that_is_killed_or_stopped_costs_no_task",),
    ),
    clause_8.process(
        breaks="a template that does not come up is not waited for",
        file="_pools/process/template.py",
        old="(None if time.monotonic() > self._until else False)",
        new="False",
        tests=(f"{FORKED}::test_a_template_that_does_not_come_up_costs_no_task",),
    ),
    clause_8.process(
        breaks="the tasks of a forked worker are known as the program's",
        file="_tasks/parent.py",
        old="os.getppid() if pid is None else pid",
        new="os.getppid()",
        tests=(f"{FORKED}::test_deadlocks_of_the_program_and_forked_workers_are_found",),
    ),
    clause_8.process(
        breaks="a forked worker has what one would have that is started now",
        file="_pools/process/template.py",
        old="        return self._passed_on == _passed_on(environment)\n",
        new="        return True\n",
        tests=(f"{FORKED}::test_a_forked_worker_has_what_a_worker_would_have_that_is_started_now",),
    ),
    clause_8.process(
        breaks="a forked worker writes where the program does",
        file="_pools/process/template.py",
        old="{fd: fd for fd in (1, 2) if process_control.is_stream(fd)}",
        new="{}",
        tests=(f"{FORKED}::test_what_a_forked_worker_prints_goes_where_the_program_writes_now",),
    ),
    clause_8.process(
        breaks="a forked worker leads a process group, as others do",
        file="_worker/template.py",
        old="        os.setpgid(pid, pid)",
        new="        pass",
        tests=(
            f"{FORKED}::test_a_forked_worker_sees_what_a_started_one_sees",
            f"{FORKED}::test_a_forked_worker_that_is_killed_to_stop_its_task_takes_its_children_along",
        ),
    ),
    clause_8.process(
        breaks="a template ends with the last worker of its pool",
        file="_pools/process/worker_watcher.py",
        old="            self._registry.templates.discard()\n",
        new="            pass\n",
        tests=(f"{FORKED}::test_a_template_ends_with_the_last_worker_of_its_pool",),
    ),
    clause_8.process(
        breaks="nothing is left of a pool that was closed",
        file="_pools/process/worker_registry.py",
        old="        self.templates.discard()\n        return workers, lanes",
        new="        return workers, lanes",
        tests=(f"{FORKED}::test_a_forked_worker_sees_what_a_started_one_sees",),
    ),
)
