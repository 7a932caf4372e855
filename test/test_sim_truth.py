# SPDX-License-Identifier: Apache-2.0
"""Boxes against what MuJoCo draws, paths against a marker that it draws, for every arm."""

import numpy as np
import pytest

from dm0_ros.errors import RobotError
from dm0_ros.robots import load_robot
from dm0_ros.sim.scene import BIN_PARTS
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.truth import Truth
from dm0_ros.sim.world import Phase, load_world

ARMS = ("franka", "panda", "ur5", "ur5e", "arx5", "arx5_l5", "aloha", "aloha_viperx")
SCENES = [(arm, load_robot(arm).simulation.world) for arm in (*ARMS, "mobile_aloha")]
SCENES += [("franka", "blocks_and_bin"), ("ur5", "blocks_and_bin_behind")]
CLOSE = 1.5  # pixels
THIN = 3.0  # pixels: of narrower slivers at the picture's edge hardly a pixel is drawn


@pytest.fixture(scope="module", params=SCENES, ids="-".join)
def simulator(request):
    arm, world = request.param
    simulator = Simulator(load_robot(arm), load_world(world), seed=0)
    yield simulator
    simulator.close()


def scatter(simulator, seed):
    """A scene with the joints somewhere near home, so that hands hide blocks now and then."""
    random = np.random.default_rng(seed)
    home = {
        joint.name: float(
            np.clip(simulator.spec.home[joint.name] + random.normal(0, 0.25), *limits(joint))
        )
        for joint in simulator.spec.joints
    }
    simulator.arrange(simulator.world.place(random), {**simulator.spec.home, **home})
    return random


def limits(joint):
    return joint.lower, joint.upper


def move(simulator):
    """Let what was written into qpos count."""
    import mujoco  # picks its GL library at import, which dm0_ros.sim chooses

    mujoco.mj_forward(simulator.model, simulator.data)


def bounds(mask):
    """Box around the pixels of a mask, None where there are none."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def test_boxes_fit_what_is_drawn(simulator):
    fitted = hidden = cut = 0
    for seed in range(12):
        scatter(simulator, seed)
        for slot in simulator.spec.camera_slots:
            truth, whole = Truth(simulator, slot), simulator.segment(slot)
            size = np.tile(whole.shape[::-1], 2)
            for name in simulator.world.object_names:
                geom = simulator.model.geom(name).id
                box = truth.box(name)
                alone = bounds(simulator.segment(slot, {geom}) == geom)
                if np.isnan(box).any() or np.min(box[2:] - box[:2]) < THIN:
                    assert alone is None or np.min(alone[2:] - alone[:2]) <= THIN + 1
                    continue
                at_edge = bool(np.any((box <= 0) | (box >= size)))
                # where the picture's edge cuts off a sharp corner, its tip is no whole pixel
                np.testing.assert_allclose(box, alone, atol=THIN if at_edge else CLOSE)
                fitted += 1
                cut += at_edge
                seen = bounds(whole == geom)
                hidden += seen is None or np.abs(seen - alone).max() > CLOSE
                if seen is not None:
                    assert np.all(seen[:2] >= box[:2] - CLOSE)
                    assert np.all(seen[2:] <= box[2:] + CLOSE)
    assert fitted > 40 and hidden + cut > 0


def test_what_nothing_hides_is_visible_and_what_is_beside_the_picture_is_nowhere(simulator):
    names = simulator.world.object_names
    for slot, camera in simulator.spec.simulation.cameras.items():
        simulator.reset(seed=0)
        truth = Truth(simulator, slot)
        if camera.link is None:
            np.testing.assert_allclose(truth.visible_shares(names), 1.0, atol=0.1)
        # to a place behind the camera, where it looks away from
        joint = simulator.data.joint(names[0])
        projection = truth.projection()
        joint.qpos[:3] = projection.position - 0.3 * projection.axes[2]
        move(simulator)
        assert np.isnan(truth.box(names[0])).all()
        assert np.isnan(truth.visible_shares(names[:1])).all()


def test_a_block_under_a_block_is_hidden_from_above():
    simulator = Simulator(load_robot("aloha"), seed=0)
    simulator.reset(seed=0)
    truth = Truth(simulator, "high")
    lower, upper = (simulator.data.joint(name) for name in ("red", "green"))
    upper.qpos[:] = lower.qpos
    towards = truth.projection().position - lower.qpos[:3]
    upper.qpos[:3] += 0.08 * towards / np.linalg.norm(towards)
    move(simulator)
    red, green, blue = truth.visible_shares(("red", "green", "blue"))
    assert red < 0.05 and green == blue == 1.0
    assert np.all(np.abs(truth.box("red") - truth.box("green")) < 5)
    simulator.close()


def test_a_path_lands_where_a_marker_at_the_tool_is_drawn(simulator):
    """A block is put between the fingers: MuJoCo's own kinematics and camera draw it."""
    found = 0
    marker = simulator.world.object_names[0]
    geom = simulator.model.geom(marker).id
    for seed in range(10):
        scatter(simulator, 100 + seed)
        measured = simulator.measured()
        row = np.array([list(measured.values())])
        for number, end in enumerate(simulator.spec.end_effectors):
            simulator.data.joint(marker).qpos[:3] = simulator.data.body(end.tool).xpos
            move(simulator)
            for slot in simulator.spec.camera_slots:
                paths = Truth(simulator, slot).paths(tuple(measured), row)
                assert paths.shape == (len(simulator.spec.end_effectors), 1, 2)
                mask = simulator.segment(slot, {geom}) == geom
                box = bounds(mask)
                if box is None or box.min() <= 0 or np.any(box[2:] >= mask.shape[0]):
                    continue  # not wholly in the picture
                middle = np.argwhere(mask).mean(0)[::-1] + 0.5
                # nearer to the camera, the near half of the block is drawn larger
                tolerance = 1.0 + 0.06 * np.max(box[2:] - box[:2])
                np.testing.assert_allclose(paths[number, 0], middle, atol=tolerance)
                found += 1
    assert found >= 4


def test_a_path_is_between_the_fingers_that_are_drawn():
    simulator = Simulator(load_robot("franka"), seed=0)
    random = scatter(simulator, 0)
    fingers = [simulator.model.body(f"fr3_finger_joint{n}".replace("_joint", "")) for n in (1, 2)]
    geoms = {
        g for body in fingers for g in range(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
    }
    for _ in range(5):
        joints = {n: v + random.normal(0, 0.1) for n, v in simulator.spec.home.items()}
        joints["fr3_finger_joint1"] = 0.06
        simulator.arrange(simulator.world.place(random), joints)
        for slot in ("right_hand", "high"):
            names = simulator.spec.joint_names
            row = [[joints[name] for name in names]]
            pixel = Truth(simulator, slot).paths(names, row)[0, 0]
            drawn = np.isin(simulator.segment(slot, geoms), list(geoms))
            box = bounds(drawn)
            assert np.all(pixel > box[:2] - 1) and np.all(pixel < box[2:] + 1)
    simulator.close()


def test_rows_of_plans_keep_their_shape_and_name_their_columns():
    simulator = Simulator(load_robot("aloha"), seed=0)
    truth, names = Truth(simulator, "high"), simulator.spec.column_names
    row = np.array([simulator.spec.home[name] for name in names])
    paths = truth.paths(names, np.tile(row, (3, 5, 1)))
    assert paths.shape == (3, 2, 5, 2)
    assert np.ptp(paths, axis=(0, 2)).max() == 0.0
    left, right = paths[0, :, 0]
    assert left[0] < right[0]
    swapped = truth.paths(names[::-1], row[None, ::-1])
    np.testing.assert_array_equal(swapped[:, 0], [left, right])
    with pytest.raises(RobotError, match="rows lack column"):
        truth.paths(names[1:], row[None, 1:])
    simulator.close()


def test_a_path_moves_along_with_a_base_that_carries_the_camera():
    simulator = Simulator(load_robot("mobile_aloha"), seed=0)
    names, home = simulator.spec.column_names, simulator.spec.home
    row = np.array([[home[name] for name in names]])
    truth = Truth(simulator, "high")
    before, box = truth.paths(names, row), truth.box("red")
    simulator.command(["vx"], [-0.3])
    simulator.step(0.3)
    assert simulator.base.pose(simulator.data)[0] < -0.01
    np.testing.assert_allclose(truth.paths(names, row), before, atol=0.1)
    assert np.abs(truth.box("red") - box).max() > 1
    simulator.close()


@pytest.fixture(scope="module")
def picker():
    simulator = Simulator(load_robot("franka"), load_world("blocks_and_bin"), 0, "pick")
    yield simulator
    simulator.close()


def test_the_bin_is_the_goal_once_the_object_is_held(picker):
    picker.reset(seed=0)
    for slot in ("right_hand", "high"):
        truth = Truth(picker, slot)
        parts = {picker.model.geom(part).id for part in BIN_PARTS}
        drawn = bounds(np.isin(picker.segment(slot, parts), list(parts)))
        np.testing.assert_allclose(truth.bin_box(), drawn, atol=CLOSE)
        for phase in (Phase.ABOVE, Phase.LOWER, Phase.GRASP):
            np.testing.assert_array_equal(truth.goal_box("red", phase), truth.box("red"))
        for phase in (Phase.CARRY, Phase.RELEASE, Phase.LEAVE):
            np.testing.assert_array_equal(truth.goal_box("red", phase), truth.bin_box())


def test_subtasks_are_worded_for_every_phase_of_every_task(picker):
    truth = Truth(picker, "right_hand")
    said = [truth.subtask("red", phase) for phase in Phase]
    assert len(set(said)) == len(Phase)
    assert said[0] == "move above the red block"


def test_what_is_not_there_is_named(picker):
    simulator = Simulator(load_robot("franka"), seed=0)
    with pytest.raises(RobotError, match="no simulated camera 'low'; its cameras are right_hand"):
        Truth(simulator, "low")
    truth = Truth(simulator, "high")
    with pytest.raises(RobotError, match="world three_blocks: has no bin; add one"):
        truth.bin_box()
    with pytest.raises(RobotError, match="no words for the phase grasp of a task of kind touch"):
        truth.subtask("red", Phase.GRASP)
    simulator.close()
