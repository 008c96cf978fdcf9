"""``python -m tests.mutants``: break every clause of the contract, one place at a time, and see its tests fail."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.mutants.catalogue import CLAUSES, MUTANTS
from tests.mutants.hunt import Hunters, Verdict
from tests.mutants.mutant import Mutant


def main() -> int:
    """0 if every chosen mutant was killed, 1 if one survived or could not be tried, 2 if its tests fail anyway."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--clause", type=int, choices=CLAUSES, help="those of one clause")
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose description, place or file has TEXT")
    parser.add_argument("--patience", type=float, default=60.0, metavar="S", help="seconds for the tests of a mutant")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="mutants tried at the same time (2)")
    chosen = parser.parse_args()
    mutants = [
        mutant
        for mutant in MUTANTS
        if chosen.clause in (None, mutant.clause)
        and chosen.only in f"{mutant.breaks} {mutant.place} {mutant.file} {' '.join(mutant.tests)}"
    ]
    newer = [mutant for mutant in mutants if sys.version_info < mutant.python]
    mutants = [mutant for mutant in mutants if mutant not in newer]
    if newer:
        print(f"{len(newer)} mutants are not tried: their tests need a newer Python")
    verdicts: list[tuple[Mutant, Verdict]] = []
    with tempfile.TemporaryDirectory() as folder, Hunters(Path(folder), chosen.jobs) as hunters:
        failing = hunters.failing_unbroken(mutants)
        if failing is not None:
            print(f"nothing can be proved: without any mutant fails {failing}")
            return 2
        for mutant, verdict in hunters.hunt(mutants, chosen.patience):
            verdicts.append((mutant, verdict))
            print(row(mutant, verdict), flush=True)
    print()
    for line in summary(verdicts):
        print(line)
    return 0 if verdicts and all(verdict.killed for _, verdict in verdicts) else 1


def row(mutant: Mutant, verdict: Verdict) -> str:
    """One mutant and what became of it."""
    what = "killed" if verdict.killed else ("SURVIVED" if verdict.valid else "NOT TRIED")
    head = f"{mutant.clause}  {mutant.place:<17}  {what:<9}  {verdict.seconds:5.1f} s"
    return f"{head}  {mutant.breaks} ({mutant.file})\n{'':<41}{'by' if verdict.killed else 'tests:'} {verdict.by}"


def summary(verdicts: list[tuple[Mutant, Verdict]]) -> list[str]:
    """Killed ones of each clause, out of all."""
    tried = Counter(mutant.clause for mutant, _ in verdicts)
    killed = Counter(mutant.clause for mutant, verdict in verdicts if verdict.killed)
    lines = [f"{number}. {CLAUSES[number]}: {killed[number]} of {tried[number]} killed" for number in sorted(tried)]
    return [*lines, f"all: {killed.total()} of {tried.total()} killed"]


if __name__ == "__main__":
    sys.exit(main())
