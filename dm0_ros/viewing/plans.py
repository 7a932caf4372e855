# SPDX-License-Identifier: Apache-2.0
"""What a plan wants at a moment."""

import numpy as np

from dm0_ros.policy.protocol import Plan


def end_of(plan: Plan) -> float:
    """When a plan is over, s: its last row is held for one step."""
    return plan.start + plan.step * len(plan.values)


def wanted_at(plan: Plan, moment: float) -> dict[str, float]:
    """What a plan wants at a moment (s), by column; nothing before it begins or after its end.

    Straight lines between rows: what the policy wrote, not what the executor makes of it.
    """
    if not plan.start <= moment < end_of(plan):
        return {}
    times = plan.start + plan.step * np.arange(len(plan.values))
    columns = zip(plan.names, plan.values.T, strict=True)
    return {name: float(np.interp(moment, times, column)) for name, column in columns}
