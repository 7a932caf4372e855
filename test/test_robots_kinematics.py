# SPDX-License-Identifier: Apache-2.0
"""Kinematics against pinocchio on random configurations."""

import numpy as np
import pinocchio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.errors import RobotError
from dm0_ros.robots import load_robot
from dm0_ros.robots.kinematics import Chain, load_urdf

ROBOTS = {}
for name in ("franka", "panda"):
    spec = load_robot(name)
    urdf = load_urdf(spec)
    model = pinocchio.buildModelFromXML(urdf)
    ROBOTS[name] = (spec, urdf, model, model.createData())

unit = st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7)


def place(spec, model, fractions):
    values = [
        j.lower + f * (j.upper - j.lower) for j, f in zip(spec.joints, fractions, strict=True)
    ]
    positions = dict(zip(spec.joint_names, values, strict=True))
    q = pinocchio.neutral(model)
    for joint, value in positions.items():
        q[model.joints[model.getJointId(joint)].idx_q] = value
    return positions, q


@pytest.mark.parametrize("robot", ROBOTS)
@given(fractions=unit)
@settings(max_examples=100, deadline=None)
def test_pose_and_jacobian_agree_with_pinocchio(robot, fractions):
    spec, urdf, model, data = ROBOTS[robot]
    positions, q = place(spec, model, fractions)
    for frame in (spec.end_effectors[0].tip, spec.end_effectors[0].tool):
        chain = Chain(urdf, spec.end_effectors[0].base, frame)
        pinocchio.framesForwardKinematics(model, data, q)
        frame_id = model.getFrameId(frame)
        np.testing.assert_allclose(
            chain.pose(positions), data.oMf[frame_id].homogeneous, atol=1e-9
        )
        jacobian = pinocchio.computeFrameJacobian(
            model, data, q, frame_id, pinocchio.LOCAL_WORLD_ALIGNED
        )
        columns = [model.joints[model.getJointId(n)].idx_v for n in chain.joint_names]
        np.testing.assert_allclose(chain.jacobian(positions), jacobian[:, columns], atol=1e-9)


@pytest.mark.parametrize("robot", ROBOTS)
def test_urdf_limits_are_those_of_the_yaml(robot):
    spec, _, model, _ = ROBOTS[robot]
    for joint in spec.joints:
        index = model.joints[model.getJointId(joint.name)].idx_q
        assert model.lowerPositionLimit[index] == joint.lower
        assert model.upperPositionLimit[index] == joint.upper
        assert (
            model.velocityLimit[model.joints[model.getJointId(joint.name)].idx_v] == joint.velocity
        )


def test_unknown_link_is_named():
    _, urdf, _, _ = ROBOTS["franka"]
    with pytest.raises(RobotError, match="fr3_nowhere"):
        Chain(urdf, "fr3_link0", "fr3_nowhere")
