"""One change of the source that breaks a clause of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACT = "tests/contract"


@dataclass(frozen=True)
class Mutant:
    """A promise, and how to break it.

    Attributes:
        clause: number of the clause in the contract.
        place: where the broken code works: "loop", "thread", "process", "process-coroutine", or "scope" for all.
        breaks: what no longer holds.
        file: path in the package.
        old: text that occurs in the file exactly once.
        new: what stands there instead.
        tests: those of which at least one must fail, as ``file::function`` under ``tests/contract``, or with the folder
            (``unit/file::function``).
        python: the first version on which its tests run.
        only: pytest's ``-k`` for their parameters; the place "loop" is ``-loop`` there, as ``every_loop`` is a mark.
    """

    clause: int
    place: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    only: str = "not trio and not uvloop and not eager"
    python: tuple[int, int] = (3, 11)

    @property
    def path(self) -> Path:
        return Path("unified_exec", self.file)

    @property
    def selection(self) -> list[str]:
        return [f"tests/{test}" if "/" in test else f"{CONTRACT}/{test}" for test in self.tests]

    def applied(self, text: str) -> str:
        """The text of the file with the change.

        Raises:
            LookupError: the old text is not in it exactly once.
        """
        found = text.count(self.old)
        if found != 1:
            raise LookupError(f"{self.path} has the text to replace {found} times")
        return text.replace(self.old, self.new)


class Clause:
    """Makes the mutants of one clause: a method for each place where the broken code works.

    ``Clause(1).thread(breaks=..., file=..., old=..., new=..., tests=...)`` is a `Mutant` of clause 1 in a thread.
    """

    def __init__(self, number: int) -> None:
        self.scope = partial(Mutant, number, "scope")
        self.loop = partial(Mutant, number, "loop")
        self.thread = partial(Mutant, number, "thread")
        self.process = partial(Mutant, number, "process")
        self.process_coroutine = partial(Mutant, number, "process-coroutine")
