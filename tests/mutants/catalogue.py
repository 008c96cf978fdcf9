"""All mutants, by the clauses they break."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.of_actors import ACTORS
from tests.mutants.of_by_value import ONE_HOME
from tests.mutants.of_cancelling import CANCELLATION
from tests.mutants.of_carried import CARRIED
from tests.mutants.of_channels import COMMUNICATION
from tests.mutants.of_cluster import CLUSTER
from tests.mutants.of_deadlocks import DEADLOCKS
from tests.mutants.of_ends import ENDS
from tests.mutants.of_errors import ERROR_STORY
from tests.mutants.of_interpreters import INTERPRETERS
from tests.mutants.of_locks import LOCKS
from tests.mutants.of_processes import CRASH, HEAD_OF_LINE, SAFE
from tests.mutants.of_scopes import DEADLINE, FAILURE_POLICY, NO_ORPHANS
from tests.mutants.of_watching import WATCHING
from tests.mutants.of_way_back import WAY_BACK

CLAUSES = {
    1: "no orphans",
    2: "one failure policy",
    3: "one cancellation",
    4: "one error story",
    5: "one deadline",
    6: "a crash is one task's problem",
    7: "no head-of-line blocking",
    8: "safe by default",
    9: "communication",
    10: "what a task carries",
    11: "watching",
}
MUTANTS: tuple[Mutant, ...] = (
    *NO_ORPHANS,
    *FAILURE_POLICY,
    *CANCELLATION,
    *ERROR_STORY,
    *ONE_HOME,
    *DEADLINE,
    *CRASH,
    *CLUSTER,
    *HEAD_OF_LINE,
    *SAFE,
    *ENDS,
    *COMMUNICATION,
    *WATCHING,
    *LOCKS,
    *DEADLOCKS,
    *WAY_BACK,
    *ACTORS,
    *CARRIED,
    *INTERPRETERS,
)
