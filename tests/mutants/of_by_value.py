"""Clause 4, its part on globals: one home for what travels by value, and descriptors that go along with a call."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

GLOBALS = "unit/test_globals.py"
BY_VALUE = "programs/test_by_value.py"
MODEL = "unit/test_globals_model.py::test_a_task_sees_the_globals_that_the_rules_promise_whatever_program_and_tasks_do"
CHANGED = f"{GLOBALS}::test_what_counts_as_changed"
TYPING = "programs/test_typing_by_value.py"
HOMES = "_wire/pickling/homes.py"


def _mutant(breaks: str, file: str, old: str, new: str, *tests: str, python: tuple[int, int] = (3, 11)) -> Mutant:
    return Mutant(
        clause=4, place="process", breaks=breaks, file=file, old=old, new=new, tests=tests, only="", python=python
    )


ONE_HOME = (
    _mutant(
        "a value that arrives for the first time does not replace what was set",
        HOMES,
        "        if not known and name in self.names:\n            return\n",
        "",
        f"{GLOBALS}::test_a_first_arrival_does_not_replace_what_was_set_there",
    ),
    _mutant(
        "an older value does not replace a newer one",
        HOMES,
        "        if known >= version:",
        "        if known == version:",
        f"{GLOBALS}::test_an_older_value_and_the_same_one_change_nothing",
        MODEL,
    ),
    _mutant(
        "what a task looks up in its script is asked for",
        HOMES,
        "            ask_sender(self.token, name)\n",
        "            pass\n",
        "programs/test_looked_up.py::"
        "test_a_task_finds_what_it_looks_up_in_its_script_in_threads_coroutines_and_nested_tasks_too",
    ),
    _mutant(
        "what was looked up once goes along with every function",
        "_wire/pickling/globals_sent.py",
        "            home.looked_up[names[0]] = None\n",
        "",
        "programs/test_looked_up.py::test_what_was_looked_up_once_is_never_older_than_a_later_task",
    ),
    _mutant(
        "a call that waited brings what it was spawned with again if the worker has a newer one",
        "_pools/process/worker_knowledge.py",
        " or (one.is_replaced and one.is_definition)]",
        "]",
        f"{BY_VALUE}::test_a_task_that_waits_while_its_function_or_class_is_defined_anew_runs_the_old_one",
    ),
    _mutant(
        "an older class or function does not take the place of the newer one",
        HOMES,
        " and not rebuilding.is_older(home, path):",
        ":",
        f"{GLOBALS}::test_a_queued_call_uses_what_it_was_spawned_with_though_the_worker_has_a_newer_one",
    ),
    _mutant(
        "a class that a task keeps is the one of later objects, whatever stands under its name",
        HOMES,
        "    if known is not None and (obj := identity.living(known)) is not None:\n        return obj\n",
        "",
        f"{GLOBALS}::test_a_class_that_a_task_keeps_is_the_one_of_later_objects_though_its_name_was_set",
    ),
    _mutant(
        "the conditions of a queue share its lock",
        "_wire/pickling/made_anew.py",
        '(threading.Condition, (vars(it)["_lock"],))',
        "(threading.Condition, ())",
        f"{GLOBALS}::test_what_belongs_to_one_process_is_made_anew_once_in_each",
    ),
    _mutant(
        "names are found in annotations that are not evaluated yet",
        "_wire/pickling/sent_home.py",
        "else typing.get_args(annotation):",
        "else ():",
        f"{GLOBALS}::test_names_are_found_in_annotations_in_eval_and_as_attributes",
    ),
    _mutant(
        "a file that was loaded without an entry in sys.modules has a home",
        "_wire/pickling/sent_home.py",
        'is_unlisted = module is None and "__spec__" in globals_',
        "is_unlisted = False",
        f"{BY_VALUE}::test_a_file_that_was_run_or_loaded_without_an_entry_in_sys_modules_has_a_home",
    ),
    _mutant(
        "each replaced main module keeps a home of its own",
        "_wire/pickling/function_table.py",
        "    if homes.several:\n",
        "    if False:\n",
        f"{BY_VALUE}::test_each_main_module_has_a_home_of_its_own_and_dies_with_it",
    ),
    _mutant(
        "a nested spawn of multiprocessing does not run a program without a guard again",
        "_wire/pickling/main_guard.py",
        "            _need_guard(path)\n",
        "            pass\n",
        f"{BY_VALUE}::test_multiprocessing_inside_a_task_finds_the_script_or_says_what_is_missing",
    ),
    _mutant(
        "what a global needs comes along with it",
        "_wire/pickling/globals_sent.py",
        "        queue += [(other or home, needed) for other, needed in entry.needs]\n",
        "",
        f"{GLOBALS}::test_functions_classes_and_values_of_a_module_share_one_home",
        MODEL,
    ),
    _mutant(
        "a value that pickles to the same bytes is not sent again",
        "_wire/pickling/entry_values.py",
        "            return take(now) == expected\n",
        "            return False\n",
        CHANGED,
    ),
    _mutant(
        "a changed list is sent again",
        "_wire/pickling/entry_values.py",
        "            return take(now) == expected\n",
        "            return type(now) is type(value)\n",
        CHANGED,
        MODEL,
    ),
    _mutant(
        "None in the place of a value that has died is a change",
        "_wire/pickling/closure_state.py",
        "    return lambda now: now is not None and ref() is now",
        "    return lambda now: ref() is now",
        CHANGED,
    ),
    _mutant(
        "a changed attribute of a class is noticed",
        "_wire/pickling/class_state.py",
        "        if _count_of(known) != self._count or not same_items(self._attributes, known):\n",
        "        if _count_of(known) != self._count:\n",
        CHANGED,
        MODEL,
    ),
    _mutant(
        "a changed default of a function is noticed",
        "_wire/pickling/closure_state.py",
        "                and fn.__defaults__ is self._defaults\n",
        "",
        CHANGED,
    ),
    _mutant(
        "a lock in an argument is refused",
        "_wire/pickling/by_value.py",
        "            memoryview: reduce_view,\n",
        "            memoryview: reduce_view,\n"
        "            **__import__('unified_exec._wire.pickling.made_anew', fromlist=['x']).REDUCERS,\n",
        f"{GLOBALS}::test_in_an_argument_or_a_captured_variable_it_is_refused_as_ever",
    ),
    _mutant(
        "the NameError of a task says why the global is not there",
        "_wire/pickling/name_notes.py",
        "                exc.add_note(note)\n",
        "                pass\n",
        f"{GLOBALS}::test_what_cannot_travel_is_undefined_and_the_error_says_why",
    ),
    _mutant(
        "a module that no worker can import goes by value",
        "_wire/pickling/module_names.py",
        "    if count == _scanned:\n",
        "    if True:\n",
        f"{BY_VALUE}::test_a_module_that_no_worker_can_import_goes_by_value",
    ),
    _mutant(
        "a new folder and environment reach warm workers",
        "_pools/process/worker_knowledge.py",
        "            if -surroundings.number in known:\n",
        "            if True:\n",
        f"{BY_VALUE}::test_a_module_that_no_worker_can_import_goes_by_value",
    ),
    _mutant(
        "large globals are mapped",
        "_wire/pickling/large_values.py",
        "None if isinstance(value, DEFINITIONS) else shared_refs.place_in_block",
        "None",
        f"{BY_VALUE}::test_large_globals_are_mapped_in_each_worker_which_may_write_to_its_own",
    ),
    _mutant(
        "a read-only array that became writable is compared",
        "_wire/pickling/large_values.py",
        " and not now.flags.writeable",
        "",
        CHANGED,
    ),
    _mutant(
        "the descriptor of an argument is closed with it",
        "_worker/received.py",
        "    if token in descriptors:\n",
        "    if False:\n",
        "programs/test_multiprocessing.py::test_the_descriptor_of_an_argument_is_closed_with_it_on_both_sides",
    ),
    _mutant(
        "a connection that is a global is not taken for another file",
        "_wire/pickling/entry_pickler.py",
        "        raise descriptors.cannot_pickle(obj)\n",
        "        pass\n",
        "programs/test_multiprocessing.py::test_what_listens_or_is_a_global_is_not_taken_for_another_file",
    ),
    _mutant(
        "a type variable keeps its bound and variance",
        "_wire/pickling/type_parameters.py",
        " for option in _OPTIONS if (value := ",
        " for option in () if (value := ",
        f"{TYPING}::test_type_variables_of_a_script_are_whole_and_current",
    ),
    _mutant(
        "a type variable that is defined anew is sent again",
        "_wire/pickling/entry_values.py",
        "ContextVar, *type_parameters.KINDS)",
        "ContextVar)",
        f"{TYPING}::test_type_variables_of_a_script_are_whole_and_current",
    ),
    _mutant(
        "a NewType comes back as the program's own",
        "_wire/pickling/type_parameters.py",
        "(token, upward, _make_new_type, ",
        '(token + "-", upward, _make_new_type, ',
        f"{TYPING}::test_type_variables_of_a_script_are_whole_and_current",
    ),
    _mutant(
        "what is evaluated lazily may lead back to what it belongs to",
        "_wire/pickling/entry_pickler.py",
        "        if len(reduced) != 6:\n",
        "        if True:\n",
        f"{TYPING}::test_classes_functions_and_aliases_whose_type_parameters_lead_to_one_another_travel",
        python=(3, 12),
    ),
    _mutant(
        "workers that import the main file get what it defines by name",
        "_wire/pickling/functions.py",
        "        packed = pack((fn, args), False, main_is_imported=True)\n",
        "        packed = pack((fn, args), False)\n",
        f"{BY_VALUE}::test_workers_that_import_the_main_file_get_all_of_it_by_name",
    ),
    _mutant(
        "also where multiprocessing is imported",
        "_wire/pickling/codec.py",
        ' and data.find(b"multiprocessing.connection") >= 0:\n',
        ":\n",
        f"{BY_VALUE}::test_workers_that_import_the_main_file_get_all_of_it_by_name",
    ),
    _mutant(
        "an instance of a class that a library registers is refused with both ways out",
        "_wire/pickling/refusal_words.py",
        " cannot travel by value ({short(error)}): {WAYS_OUT}",
        " cannot travel by value ({short(error)})",
        f"{BY_VALUE}::test_a_class_that_a_library_registers_is_refused_with_both_ways_out",
    ),
    _mutant(
        "a process that a task forks has the classes and functions of the task's module",
        "_worker/look_up.py",
        "                ask(token, homes.ALL)  # the child cannot ask\n",
        "                pass\n",
        "programs/test_looked_up.py::"
        "test_a_task_finds_what_it_looks_up_in_its_script_in_threads_coroutines_and_nested_tasks_too",
    ),
    _mutant(
        "a global whose pickling was interrupted is pickled anew",
        "_wire/pickling/entry_values.py",
        "            _put_back(home, name, older)\n",
        "            pass\n",
        f"{GLOBALS}::test_what_was_interrupted_while_it_was_pickled_is_pickled_anew",
    ),
    _mutant(
        "a global that could not travel is tried again when its parts have changed",
        "_wire/pickling/entry_values.py",
        "why_undefined(value, error), _same_parts(value)\n",
        "why_undefined(value, error), same_object(value)\n",
        f"{GLOBALS}::test_what_could_not_travel_travels_once_its_parts_can",
    ),
    _mutant(
        "a value whose rebuilding was interrupted is rebuilt later",
        HOMES,
        "        item[0].load(item[1])  # if this",
        "        wanted.remove(item)\n        item[0].load(item[1])  # if this",
        f"{GLOBALS}::test_a_value_whose_rebuilding_was_interrupted_is_rebuilt_later",
    ),
    _mutant(
        "threads that send first from a module find one home",
        "_wire/pickling/sent_home.py",
        "        return found if found is not None and found.globals() is globals_ else",
        "        return found if False else",
        f"{GLOBALS}::test_threads_that_send_first_from_a_module_at_once_find_one_home",
    ),
    _mutant(
        "a lock that another thread held is free in a forked child",
        "_tasks/fork_lock.py",
        "        if not lock._is_owned():",
        "        if False:",
        "unit/test_fork_lock.py::test_a_lock_that_another_thread_held_is_free_in_a_forked_child",
    ),
    _mutant(
        "a lock of the thread that forks stays its own",
        "_tasks/fork_lock.py",
        "        if not lock._is_owned():",
        "        if True:",
        "unit/test_fork_lock.py::test_a_lock_that_the_forking_thread_holds_is_still_its_own_in_the_child",
    ),
    _mutant(
        "a class has the slots that it has in the program",
        "_wire/pickling/kinds.py",
        '    if "__slots__" in vars(cls):',
        '    if "__slots__" in state:',
        f"{BY_VALUE}::test_generic_functions_enumerations_and_nested_classes_travel",
    ),
)
