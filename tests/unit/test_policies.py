"""The policies as pure rules: a tally goes in, a verdict comes out."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from unified_exec import Collect, FailFast, Race, Tally, Verdict
from unified_exec._rules.policies import is_policy

tallies = st.builds(Tally, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


@given(tallies)
def test_fail_fast_cancels_the_scope_at_the_first_failure_and_raises(tally: Tally) -> None:
    assert FailFast().judge(tally) is (Verdict.CANCEL_SCOPE if tally.errors else Verdict.GO_ON)
    assert FailFast().raises(tally) == (tally.errors > 0)


@given(tallies)
def test_collect_never_cancels_and_never_raises(tally: Tally) -> None:
    assert Collect().judge(tally) is Verdict.GO_ON
    assert not Collect().raises(tally)


@given(tallies, st.integers(1, 9))
def test_a_race_is_decided_by_n_values_and_raises_only_without_them(tally: Tally, n: int) -> None:
    won = tally.values >= n
    assert Race(n).judge(tally) is (Verdict.CANCEL_REST if won else Verdict.GO_ON)
    assert Race(n).raises(tally) == (not won and tally.errors > 0)


@pytest.mark.parametrize("policy", [FailFast(), Collect(), Race(2)])
def test_policies_show_how_they_are_made(policy: object) -> None:
    assert eval(repr(policy), {"FailFast": FailFast, "Collect": Collect, "Race": Race}).__class__ is policy.__class__
    assert is_policy(policy)


def test_what_is_no_policy_is_told() -> None:
    class Half:
        def judge(self, tally: Tally) -> Verdict:
            return Verdict.GO_ON

    for thing in (FailFast, None, "collect", Half()):
        assert not is_policy(thing)


def test_a_tally_shows_its_counts() -> None:
    assert repr(Tally(1, 2, 3)) == "Tally(values=1, errors=2, cancelled=3)"
