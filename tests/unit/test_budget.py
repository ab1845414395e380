"""What is told to be far below a limit is: by the compilation that it saves."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings

from controller.api.intents import budget
from controller.compiler import PolicyView, policy_cost
from tests.support.effort import examples
from tests.support.policy_cases import policies


@settings(max_examples=examples(400))
@given(policies())
def test_no_policy_above_a_limit_is_taken_to_be_below_it(policy: PolicyView) -> None:
    cost, parts = policy_cost(policy), budget._parts(policy)
    above: Mapping[str, int] = {
        "MASKS_MAX": cost.masks - 1,
        "FLOWS_MAX": cost.flows - 1,
        "CONJUNCTIONS_MAX": cost.conjunctions - 1,
    }
    for name, limit in above.items():
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(budget, name, limit)
            assert not budget._is_far_below(policy, parts), f"{name} {limit}, and it costs {cost}"
