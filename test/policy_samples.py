# SPDX-License-Identifier: Apache-2.0
"""What a policy for Franka's joints observes, for the tests that share it."""

from dataclasses import replace

import numpy as np

from dm0_ros.policy.protocol import Observation
from dm0_ros.robots import load_robot

ROBOT = load_robot("franka")
COLUMNS = ROBOT.layout("joint").columns
INSTRUCTION = "touch the red block"


def observe(instruction: str = INSTRUCTION, seed: int = 0, **changes) -> Observation:
    """Noise for pictures and state; ``changes`` replace fields."""
    random = np.random.default_rng(seed)
    observation = Observation(
        pictures={
            slot: random.integers(0, 256, (70, 90, 3), dtype=np.uint8)
            for slot in ("left_hand", "right_hand")
        },
        state=random.normal(size=len(COLUMNS)),
        instruction=instruction,
        stamp=12.5,
    )
    return replace(observation, **changes)
