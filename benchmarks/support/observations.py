# SPDX-License-Identifier: Apache-2.0
"""What a policy is shown where only its time counts: a robot at home, and pictures of noise."""

from collections.abc import Iterator

import numpy as np

from dm0_ros.policy.protocol import Observation, PolicySpec
from dm0_ros.robots.spec import RobotSpec

INSTRUCTION = "touch the red block"


def make_observations(spec: PolicySpec, robot: RobotSpec) -> Iterator[Observation]:
    """Observations without end, each with pictures of its own, as large as the simulator's.

    Different ones, for what did not change since the last plan is not read again.
    """
    random = np.random.default_rng(0)
    cameras = robot.simulation.cameras
    state = np.array([robot.home[name] for name in spec.state_names])
    while True:
        pictures = {
            slot: random.integers(0, 255, (cameras[slot].height, cameras[slot].width, 3), np.uint8)
            for slot in spec.camera_slots
        }
        yield Observation(pictures, state, INSTRUCTION, stamp=0.0)
