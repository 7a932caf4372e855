# SPDX-License-Identifier: Apache-2.0
"""The DM0 policy on a tiny checkpoint with random weights, written by the model's own code."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from policy_samples import COLUMNS, ROBOT, observe

from dm0_ros.engine import EngineOptions
from dm0_ros.errors import (
    CheckpointError,
    InstructionError,
    ObservationError,
    PlanError,
)
from dm0_ros.model import DM0
from dm0_ros.model.guidance import Guidance
from dm0_ros.policy.normalisation import load_stats
from dm0_ros.policy.observation import order_state
from dm0_ros.policy.prompt import encode_prompt
from dm0_ros.policy.protocol import Prefix
from dm0_ros.policy.registry import load_policy
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.robots.spec import Space


def say_executed_rows(folder, rows):
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "executed_rows": rows}))


def test_spec_says_what_the_checkpoint_and_the_robot_say(tiny_checkpoint):
    spec = load_policy(tiny_checkpoint, ROBOT).spec
    assert spec.name == "tiny"
    assert spec.camera_slots == ("right_hand", "left_hand")
    assert spec.state_names == spec.action_names == COLUMNS
    assert (spec.space, spec.horizon, spec.step) == (Space.JOINT_POSITION, 6, 0.1)
    assert not spec.needs_prefix


def test_plans_follow_each_other_as_the_authors_let_them(tiny_checkpoint):
    assert load_policy(tiny_checkpoint, ROBOT).spec.period == 0.2
    say_executed_rows(tiny_checkpoint, 1)
    assert load_policy(tiny_checkpoint, ROBOT).spec.period == pytest.approx(0.1)


def test_a_plan_is_followed_by_the_next_before_it_ends(tiny_checkpoint):
    say_executed_rows(tiny_checkpoint, 6)
    assert load_policy(tiny_checkpoint, ROBOT).spec.period == pytest.approx(0.3)


def test_plan_is_what_the_network_gives_step_by_step(tiny_checkpoint):
    observation = observe()
    model = DM0.from_pretrained(tiny_checkpoint)
    views = torch.zeros(1, 3, 3, 56, 56)
    policy = load_policy(tiny_checkpoint, ROBOT, options=EngineOptions(steps=4), seed=7)
    small = {slot: picture[:56, :56].copy() for slot, picture in observation.pictures.items()}
    for index, slot in ((0, "right_hand"), (2, "left_hand")):
        views[0, index] = torch.from_numpy(small[slot] / 127.5 - 1.0).permute(2, 0, 1)
    ids, mask = encode_prompt(load_tokenizer(tiny_checkpoint), observation.instruction, 220)
    noise = torch.randn(1, 6, 12, generator=torch.Generator().manual_seed(7))
    actions = (
        model.sample_actions(
            views,
            torch.tensor([[True, False, True]]),
            torch.from_numpy(ids)[None],
            torch.from_numpy(mask)[None],
            noise,
            steps=4,
        )[0]
        .double()
        .numpy()
    )
    stats = load_stats(tiny_checkpoint, width=12).action
    expected = (actions + 1) / 2 * (stats.high - stats.low + 1e-6) + stats.low
    expected = expected[:, :8]
    expected[:, :7] += observation.state[:7]

    plan = policy.infer(replace(observation, pictures=small))

    np.testing.assert_allclose(plan.values, expected, atol=1e-5)
    assert (plan.start, plan.step, plan.names) == (12.5, 0.1, COLUMNS)
    assert math.isnan(plan.progress)


def test_same_seed_same_plan_after_reset_and_new_noise_without(tiny_checkpoint):
    policy = load_policy(tiny_checkpoint, ROBOT)
    first, second = (policy.infer(observe()).values for _ in range(2))
    policy.reset()
    np.testing.assert_array_equal(policy.infer(observe()).values, first)
    assert np.abs(second - first).max() > 1e-4


def test_warm_up_leaves_no_trace(tiny_checkpoint):
    policy = load_policy(tiny_checkpoint, ROBOT)
    plain = policy.infer(observe()).values
    latency = policy.warm_up()
    assert latency.total > 0 and latency.reasoning == 0
    np.testing.assert_array_equal(policy.infer(observe()).values, plain)


def test_a_refused_observation_leaves_no_trace(tiny_checkpoint):
    policy = load_policy(tiny_checkpoint, ROBOT)
    plain = policy.infer(observe()).values
    policy.reset()
    with pytest.raises(InstructionError):
        policy.infer(observe(instruction="x" * 10_000))
    np.testing.assert_array_equal(policy.infer(observe()).values, plain)


def test_picture_and_instruction_both_matter(tiny_checkpoint):
    policy = load_policy(tiny_checkpoint, ROBOT)

    def plan(observation):
        policy.reset()
        return policy.infer(observation).values

    plain, other = observe(), observe(seed=1)
    assert np.abs(plan(plain) - plan(replace(plain, pictures=other.pictures))).max() > 0
    assert np.abs(plan(plain) - plan(replace(plain, instruction="go home"))).max() > 0


def test_progress_follows_the_predictions(tiny_progress_checkpoint):
    policy = load_policy(tiny_progress_checkpoint, ROBOT)  # predicts 0.4 for six rows of 0.1 s
    stamps = (1.0, 1.3, 1.6, 9.0)
    progress = [policy.infer(observe(stamp=stamp)).progress for stamp in stamps]
    assert progress == pytest.approx([0.0, 0.2, 0.3, 0.4])
    policy.reset()
    assert policy.infer(observe(stamp=1.0)).progress == 0.0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pictures": {}}, ObservationError, "no picture for camera slot 'right_hand'; got none"),
        (
            {"pictures": dict.fromkeys(("left_hand", "right_hand"), np.full((4, 4, 3), np.nan))},
            ObservationError,
            "picture 'right_hand': holds NaN or infinite pixels",
        ),
        (
            {"state": np.array([0, 0, np.nan, 0, 0, 0, np.inf, 0])},
            ObservationError,
            "position of fr3_joint3, fr3_joint7 is NaN or infinite; check the robot's driver",
        ),
        ({"state": np.zeros(7)}, ObservationError, r"shape \(7,\); expected 8 values, in this"),
        ({"stamp": math.nan}, ObservationError, "the observation's stamp is nan"),
        ({"instruction": " \n"}, InstructionError, "the instruction is empty; say what to do"),
        (
            {"instruction": "touch red " * 1000},
            InstructionError,
            "too long: the prompt has 10[0-9]{3} tokens and the checkpoint takes 220; shorten",
        ),
    ],
)
def test_unusable_observation_is_named(tiny_checkpoint, change, error, message):
    with pytest.raises(error, match=message):
        load_policy(tiny_checkpoint, ROBOT).infer(observe(**change))


def test_joints_in_another_order_just_work_and_missing_ones_are_named():
    positions = {name: float(index) for index, name in enumerate(COLUMNS)}
    backwards = dict(reversed(positions.items()))
    assert order_state(backwards, COLUMNS).tolist() == [float(k) for k in range(8)]
    del backwards["fr3_joint2"], backwards["fr3_finger_joint1"]
    with pytest.raises(ObservationError, match="no position for fr3_joint2, fr3_finger_joint1"):
        order_state(backwards, COLUMNS)


def test_output_that_is_not_finite_is_refused(tiny_checkpoint):
    model = DM0.from_pretrained(tiny_checkpoint)
    with torch.no_grad():
        model.model.action_out_proj.bias[1] = float("inf")
    model.save_pretrained(tiny_checkpoint)
    with pytest.raises(PlanError, match="NaN or infinite set-points for fr3_joint2; load it"):
        load_policy(tiny_checkpoint, ROBOT, options=EngineOptions(steps=1)).infer(observe())


def test_gripper_rule_and_limits_come_last(tiny_checkpoint):
    path = tiny_checkpoint / "policy.yaml"
    plain = load_policy(tiny_checkpoint, ROBOT).infer(observe()).values
    middle = float(np.median(plain[:, 7]))
    joint = (float(plain[:, 0].mean()), float(plain[:, 0].max()))
    free = [[-100.0, 100.0]] * 6
    changes = {
        "gripper": {"threshold": middle, "below": -0.5, "above": 0.5},
        "clip": [list(joint), *free, [-0.4, 0.4]],
    }
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    settled = load_policy(tiny_checkpoint, ROBOT).infer(observe()).values
    expected = np.where(plain[:, 7] < middle, -0.4, 0.4)
    assert {-0.4, 0.4} == set(expected)
    np.testing.assert_array_equal(settled[:, 7], expected)
    np.testing.assert_array_equal(settled[:, 0], np.clip(plain[:, 0], *joint))
    np.testing.assert_array_equal(settled[:, 1:7], plain[:, 1:7])


def test_settings_decide_whether_progress_is_run(tiny_progress_checkpoint):
    path = tiny_progress_checkpoint / "policy.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "progress": False}))
    assert math.isnan(load_policy(tiny_progress_checkpoint, ROBOT).infer(observe()).progress)


def test_more_executed_rows_than_a_chunk_has_are_refused(tiny_checkpoint):
    say_executed_rows(tiny_checkpoint, 7)
    with pytest.raises(CheckpointError, match=r"executed_rows is 7, but a chunk .* has 6 rows"):
        load_policy(tiny_checkpoint, ROBOT)


def test_a_guided_plan_keeps_what_is_committed(tiny_checkpoint):
    options = EngineOptions(guidance=Guidance.PREFIX)
    policy = load_policy(tiny_checkpoint, ROBOT, options=options)
    plain = load_policy(tiny_checkpoint, ROBOT)
    assert policy.spec.needs_prefix and not plain.spec.needs_prefix
    first, later = observe(), observe(seed=1)
    rows = policy.infer(first).values
    kept = policy.infer(later, Prefix(rows, delay=2, executed=3)).values
    np.testing.assert_allclose(kept[:2], rows[:2], atol=1e-5)
    assert np.abs(kept[2:] - rows[2:]).max() > 1e-3
    plain.infer(first)
    assert np.abs(plain.infer(later).values[:2] - rows[:2]).max() > 1e-3


def test_a_plan_of_poses_goes_on_where_roll_wraps(tiny_pose_checkpoint):
    """A UR5's tool points down, so the roll that is measured jumps between pi and -pi."""
    robot, options = load_robot("ur5"), EngineOptions(guidance=Guidance.PREFIX)
    policy = load_policy(tiny_pose_checkpoint, robot, options=options)
    assert policy.spec.space is Space.EEF_POSE
    assert policy.spec.action_names == robot.layout("pose").columns
    state = np.array([-0.4, 0.1, 0.3, math.pi - 1e-4, 0.0, 1.5, 0.02])
    rows = policy.infer(observe(state=state)).values
    assert np.abs(rows - state)[:, :6].max() < 0.1
    wrapped = state - [0, 0, 0, math.tau, 0, 0, 0]
    prefix = Prefix(rows, delay=2, executed=3)
    kept = policy.infer(observe(seed=1, state=wrapped), prefix).values
    np.testing.assert_allclose(kept[:2, 3] + math.tau, rows[:2, 3], atol=1e-4)
    np.testing.assert_allclose(np.delete(kept, 3, 1)[:2], np.delete(rows, 3, 1)[:2], atol=1e-4)
