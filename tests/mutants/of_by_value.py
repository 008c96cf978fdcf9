"""Clause 4, its part on globals: one home for what travels by value, and descriptors that go along with a call."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

GLOBALS = "unit/test_globals.py"
BY_VALUE = "programs/test_by_value.py"
MODEL = "unit/test_globals_model.py::test_a_task_sees_the_globals_that_the_rules_promise_whatever_program_and_tasks_do"
CHANGED = f"{GLOBALS}::test_what_counts_as_changed"
HOMES = "_wire/pickling/homes.py"


def _mutant(breaks: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(clause=4, place="process", breaks=breaks, file=file, old=old, new=new, tests=tests, only="")


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
        "an object keeps the class it was made of when that is defined anew",
        HOMES,
        "    if known is not None and (obj := identity.living(known)) is not None:\n        return obj\n",
        "",
        f"{GLOBALS}::test_an_object_that_was_made_before_its_class_was_defined_anew_keeps_its_class",
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
)
