"""Clause 10: what a task carries."""

from __future__ import annotations

from tests.mutants.mutant import Clause

CONTEXT = "test_10_context.py"
LOGS = "test_10_logs.py"

clause_10 = Clause(10)

CARRIED = (
    clause_10.process(
        breaks="what a task sets stays in it",
        file="_worker/run_calls.py",
        old="context = self.variables.base.copy()  # what the task sets goes with it",
        new="context = self.variables.base",
        tests=(f"{CONTEXT}::test_what_a_task_sets_stays_in_it",),
        only="asyncio and process and not coroutine and not uvloop and not eager",
    ),
    clause_10.process(
        breaks="what a task sets in a variable that it carries stays in it",
        file="_worker/context_state.py",
        old="context = self._context.copy()",
        new="context = self._context",
        tests=(
            f"{CONTEXT}::test_what_a_task_sets_stays_in_it",
            f"{CONTEXT}::test_a_mutable_value_is_the_one_of_the_spawn_and_each_task_has_its_own",
        ),
    ),
    clause_10.process(
        breaks="a context that may have been taken back with its task is sent again",
        file="_pools/process/worker_knowledge.py",
        old="return carried.number != self._carried or self._carried_number not in self._connection.known",
        new="return carried.number != self._carried",
        tests=(f"{CONTEXT}::test_a_context_that_was_taken_back_with_its_task_is_sent_again",),
    ),
    clause_10.process(
        breaks="a task sees the values as they were at its spawn",
        file="_wire/pickling/carried.py",
        old="if get(var, _MISSING) is not value:",
        new="if get(var, _MISSING) is _MISSING:",
        tests=(f"{CONTEXT}::test_requests_at_the_same_time_do_not_mix",),
    ),
    clause_10.process(
        breaks="a mutable value is the one of the spawn",
        file="_wire/pickling/carried.py",
        old="            moving.append((var, value))\n            size = -1",
        new="            moving.append((var, value))",
        tests=(f"{CONTEXT}::test_a_mutable_value_is_the_one_of_the_spawn_and_each_task_has_its_own",),
    ),
    clause_10.process(
        breaks="a variable whose module the task imports has its value",
        file="_worker/context_state.py",
        old="                _wait_for(module_name)",
        new="                pass",
        tests=(f"{CONTEXT}::test_a_variable_of_a_module_that_the_task_itself_imports_has_its_value",),
    ),
    clause_10.process(
        breaks="all records of a task are handled before its outcome is seen",
        file="_pools/process/answers.py",
        old="                message = memoryview(bytes(message))  # the user's handlers may have this buffer used\n"
        "                self._read_logs(worker)",
        new="                pass",
        tests=(f"{LOGS}::test_an_answer_and_a_death_bring_the_records_that_nobody_has_read_yet",),
    ),
    clause_10.process(
        breaks="the records before a crash are handled before the crash is seen",
        file="_pools/process/answers.py",
        old="            self._group.logs.read(worker, READ_MOST)\n        except",
        new="        except",
        tests=(f"{LOGS}::test_an_answer_and_a_death_bring_the_records_that_nobody_has_read_yet",),
    ),
    clause_10.process(
        breaks="a flood is cut",
        file="_worker/logs/pipe.py",
        old="                if self._tokens >= 1:",
        new="                if True:",
        tests=(f"{LOGS}::test_a_flood_is_cut_and_one_line_says_how_much",),
    ),
    clause_10.process(
        breaks="levels follow the spawner's",
        file="_wire/pickling/surroundings.py",
        old="_log_cache is not None and log_levels.UNCHANGED not in _log_cache",
        new="False",
        tests=(f"{LOGS}::test_levels_are_those_of_the_spawner_also_when_they_change",),
    ),
    clause_10.process(
        breaks="the program's own configuration in a worker wins",
        file="_worker/logs/handler.py",
        old="        if len(logging.root.handlers) > 1 and not self.is_alone():",
        new="        if False:",
        tests=(f"{LOGS}::test_a_handler_that_a_task_gives_the_root_logger_takes_the_place_of_ours",),
    ),
    clause_10.process(
        breaks="the child of a fork in a task sends no records",
        file="_worker/logs/handler.py",
        old="        if forked.happened:",
        new="        if False:",
        tests=(f"{LOGS}::test_the_child_of_a_fork_in_a_task_sends_nothing",),
    ),
    clause_10.process_coroutine(
        breaks="a coroutine in a worker sees its spawner's variables",
        file="_worker/run_coroutines.py",
        old=", name=name, context=context)",
        new=", name=name)",
        tests=(f"{CONTEXT}::test_what_a_task_sets_stays_in_it",),
    ),
    clause_10.thread(
        breaks="a thread task sees its spawner's variables",
        file="_pools/thread/call.py",
        old="self.context: Context | None = copy_context()",
        new="self.context: Context | None = Context()",
        tests=(f"{CONTEXT}::test_every_way_of_running_shows_the_variables_of_its_spawner",),
    ),
)
