"""The list of mutants stays true to the source, without running one."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from tests.mutants.catalogue import CLAUSES, MUTANTS
from tests.mutants.mutant import CONTRACT, ROOT, Mutant

EVERYWHERE = {"loop", "thread", "process", "process-coroutine"}
OWN_CODE = {
    1: EVERYWHERE,
    2: {"scope", "loop"},
    3: EVERYWHERE,
    4: EVERYWHERE,
    5: EVERYWHERE,
    6: {"process", "process-coroutine"},
    7: EVERYWHERE - {"loop"},
    8: EVERYWHERE - {"loop"},
    9: {"scope", "thread", "process"},
    10: {"thread", "process", "process-coroutine"},
    11: {"scope", "process"},
}


def name(mutant: Mutant) -> str:
    return f"{mutant.clause}-{mutant.breaks}"


def test_what_a_mutant_changes_is_in_its_file_once_and_stays_python() -> None:
    wrong = []
    for mutant in MUTANTS:
        try:
            ast.parse(mutant.applied((ROOT / mutant.path).read_text()))
        except (LookupError, OSError, SyntaxError) as error:
            wrong.append(f"{name(mutant)}: {error}")
    assert wrong == []


def test_the_tests_of_a_mutant_exist_and_are_its_clauses() -> None:
    tests = {(mutant, *test.split("::")) for mutant in MUTANTS for test in mutant.selection}
    texts = {file: (ROOT / file).read_text() if (ROOT / file).exists() else "" for _, file, _ in tests}
    missing = [
        f"{name(mutant)}: {file}::{function}"
        for mutant, file, function in tests
        if not re.search(rf"^(async )?def {function}\(", texts[file], re.MULTILINE)
    ]
    assert missing == []
    other_clauses = [
        f"{name(mutant)}: {file}"
        for mutant, file, _ in tests
        if file.startswith(CONTRACT) and mutant.place != "interpreter"
        if not file.startswith(f"{CONTRACT}/test_{mutant.clause}_")
    ]
    assert other_clauses == []


@pytest.mark.parametrize("clause", CLAUSES)
def test_a_clause_is_broken_at_each_place_that_has_code_of_its_own_for_it(clause: int) -> None:
    broken = {mutant.place for mutant in MUTANTS if mutant.clause == clause}
    assert broken >= OWN_CODE[clause]


def test_every_clause_is_broken_more_than_once_and_no_mutant_is_listed_twice() -> None:
    assert min(Counter(mutant.clause for mutant in MUTANTS)[clause] for clause in CLAUSES) >= 2
    assert len({name(mutant) for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
