# SPDX-License-Identifier: Apache-2.0
"""Bags through `evaluate_bag`: errors against what was commanded, by straightforward formulas."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from evaluation_bags import (
    HAND,
    ROBOT,
    SPEEDS,
    Scripted,
    by_hand,
    command_at,
    evaluate,
    write_teleoperation,
)
from replay_bags import BEGIN
from replay_recordings import record

from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation import evaluate as evaluation
from dm0_ros.evaluation.actions import Actions
from dm0_ros.evaluation.evaluate import Setting, evaluate_bag
from dm0_ros.evaluation.result import read_result
from dm0_ros.evaluation.summary import summarise
from dm0_ros.policy.normalisation import load_stats
from dm0_ros.replay.bag import read_raw
from dm0_ros.replay.lateness import Lateness
from dm0_ros.replay.layout import find_layout
from dm0_ros.replay.run import Wishes, prepare
from dm0_ros.replay.walk import Options, Walk
from dm0_ros.robots.kinematics import Chain, load_urdf


def plan_again(bag, wishes):
    """The plans of a replay, without what is to be tested."""
    subject = prepare(bag, wishes)
    options = Options(period=wishes.period, instruction=wishes.instruction)
    return [step.plan for step in Walk(subject.layout, subject.policy, ROBOT, options)]


def expect(plan, end):
    """Errors (H, D) of a plan from the commands up to ``end``, s after BEGIN."""
    times = plan.start - BEGIN + np.arange(len(plan.values)) * plan.step
    errors = plan.values - command_at(times)
    errors[times > end] = np.nan
    return errors


def test_errors_are_from_the_commands_at_the_times_of_rows(tiny_checkpoint, tmp_path):
    bag, wishes = tmp_path / "bag", by_hand(tiny_checkpoint)
    write_teleoperation(bag, lag=0.2)
    result = evaluate(bag, tmp_path / "out", wishes)
    found, plans = result.read_plans(), plan_again(bag, wishes)
    assert len(plans) == result.content["plans"] > 10
    for errors, plan in zip(found["action_errors"], plans, strict=True):
        expected = expect(plan, 3.99)
        # between two commands a gripper that jumps is anywhere
        sure = np.abs(expected[:, -1] - errors[:, -1]) < 1e-6
        assert sure[np.isfinite(errors[:, -1])].mean() > 0.7
        np.testing.assert_allclose(errors[:, :-1], expected[:, :-1], atol=1e-5)
    assert np.isnan(found["plan_errors"]).all(), "nobody planned live"
    sources = result.content["actions"]
    assert sources["fr3_joint1"] == ROBOT.sinks[0].topic and sources[HAND] == ROBOT.sinks[1].topic
    assert [e["name"] for e in result.content["episodes"]] == ["task 1"]


def test_table_is_that_of_straightforward_formulas(tiny_checkpoint, tmp_path):
    bag, wishes = tmp_path / "bag", by_hand(tiny_checkpoint)
    write_teleoperation(bag)
    result = evaluate(bag, tmp_path / "out", wishes)
    table, plans = summarise([result]), plan_again(bag, wishes)
    errors = np.stack([expect(plan, 3.99) for plan in plans])[:, :, :-1]
    stats = load_stats(tiny_checkpoint, 12).action
    ranges = (stats.high - stats.low)[:7]
    for place, name in enumerate(ROBOT.joint_names):
        column = table["by_column"][name]["action"]
        of = errors[:, :, place]
        assert column["mae"]["value"] == pytest.approx(np.nanmean(np.abs(of)), rel=1e-4)
        assert column["rmse"]["value"] == pytest.approx(math.sqrt(np.nanmean(of**2)), rel=1e-4)
        share = np.nanmean(np.abs(of)) / ranges[place]
        assert column["normalised"]["value"] == pytest.approx(share, rel=1e-4)
        grid = table["grid"]["action"][name]
        np.testing.assert_allclose(grid["mae"], np.nanmean(np.abs(of), axis=0), rtol=1e-4)
        np.testing.assert_allclose(grid["rmse"], np.sqrt(np.nanmean(of**2, axis=0)), rtol=1e-4)
    assert [row["seconds"] for row in table["by_row"]] == pytest.approx(np.arange(6) * 0.1)
    json.dumps(table, allow_nan=False)


def test_end_effector_is_off_by_what_forward_kinematics_say(tiny_checkpoint, tmp_path):
    bag, wishes = tmp_path / "bag", by_hand(tiny_checkpoint)
    write_teleoperation(bag, seconds=2.0)
    found = evaluate(bag, tmp_path / "out", wishes).read_plans()["pose_errors"]
    arm = ROBOT.end_effectors[0]
    chain = Chain(load_urdf(ROBOT), arm.base, arm.tip)
    plan = plan_again(bag, wishes)[1]
    truth = command_at(plan.start - BEGIN + np.arange(6) * plan.step)
    for row in range(6):
        planned, there = (chain.pose_at(rows[row, :7]) for rows in (plan.values, truth))
        apart = 1e3 * np.linalg.norm(planned[:3, 3] - there[:3, 3])
        cosine = (np.trace(planned[:3, :3] @ there[:3, :3].T) - 1) / 2
        expected = apart, math.degrees(math.acos(np.clip(cosine, -1, 1)))
        np.testing.assert_allclose(found[1, row, 0], expected, rtol=1e-3)


def test_plans_of_poses_have_the_same_figures(tiny_pose_checkpoint, tmp_path):
    bag, wishes = tmp_path / "bag", by_hand(tiny_pose_checkpoint)
    write_teleoperation(bag, seconds=2.0)
    result = evaluate(bag, tmp_path / "out", wishes)
    found, plan = result.read_plans(), plan_again(bag, wishes)[0]
    assert result.columns[:6] == ["x", "y", "z", "roll", "pitch", "yaw"]
    arm = ROBOT.end_effectors[0]
    chain = Chain(load_urdf(ROBOT), arm.base, arm.tip)
    there = chain.pose_at(command_at([plan.start - BEGIN])[0, :7])
    apart = plan.values[0, :3] - there[:3, 3]
    np.testing.assert_allclose(found["action_errors"][0, 0, :3], apart, atol=1e-5)
    far = found["pose_errors"][0, 0, 0, 0]
    assert far == pytest.approx(1e3 * np.linalg.norm(apart), rel=1e-3)
    assert np.nanmax(np.abs(found["action_errors"][:, :, 3:6])) <= math.pi + 1e-6


def test_a_joint_that_nobody_commanded_does_what_is_measured(tiny_checkpoint, tmp_path):
    write_teleoperation(tmp_path / "bag", seconds=2.0, commanded=False, lag=0.2)
    result = evaluate(tmp_path / "bag", tmp_path / "out", by_hand(tiny_checkpoint))
    assert set(result.content["actions"].values()) == {"measured"}
    plan = plan_again(tmp_path / "bag", by_hand(tiny_checkpoint))[0]
    expected = plan.values[0, :7] - (command_at([plan.start - BEGIN])[0, :7] - 0.2)
    found = result.read_plans()["action_errors"]
    np.testing.assert_allclose(found[0, 0, :7], expected, atol=1e-5)


def test_actions_are_taken_as_early_as_the_robot_has_to_be_told(tmp_path):
    """And until a task's first command, it is where it is measured."""
    write_teleoperation(tmp_path / "bag", lag=0.2)
    late = replace(
        ROBOT.executor, observation_latency=0.03, actuation_latency=0.1, gripper_latency=0.2
    )
    robot, layout = replace(ROBOT, executor=late), find_layout(tmp_path / "bag")
    actions = Actions(layout, robot)
    topics = {layout.name(sink.topic): sink.topic for sink in ROBOT.sinks}
    topics[layout.name("joint_states")] = "joint_states"
    for message in read_raw(layout.path, set(topics)):
        actions.hear(topics[message.topic], message, message.time)
    times = BEGIN + np.array([1.0, 2.1, 2.3])
    found = actions.sample([*ROBOT.joint_names[:2], HAND], times)
    joints = command_at(times - BEGIN - 0.13)[:, :2]
    np.testing.assert_allclose(found[:, :2], joints, atol=1e-6)
    np.testing.assert_allclose(found[:, 2], [0.08, 0.08, 0.0], atol=1e-6)
    known, openings = actions.watch(HAND, times[0], times[-1])
    assert known[np.argmax(openings < 0.04)] - BEGIN == pytest.approx(2.23, abs=1e-6)
    early = actions.sample([ROBOT.joint_names[0]], times, since=BEGIN + 2.0)[:, 0]
    measured = command_at(times - BEGIN - 0.03)[:, 0] - 0.2
    expected = [measured[0], measured[1], joints[2, 0]]
    np.testing.assert_allclose(early, expected, atol=1e-6)


def test_rows_after_the_end_of_an_episode_are_compared_with_nothing(tiny_checkpoint, tmp_path):
    marks = [(0.5, 1.5, "succeeded"), (2.0, 3.0, "time_limit")]
    write_teleoperation(tmp_path / "bag", marks=marks)
    result = evaluate(tmp_path / "bag", tmp_path / "out", by_hand(tiny_checkpoint))
    episodes, found = result.content["episodes"], result.read_plans()
    named = {episode["name"]: number for number, episode in enumerate(episodes)}
    assert [e["outcome"] for e in episodes if e["bounds_by"] == "marks"] == [
        "succeeded",
        "time_limit",
    ]
    mine = found["episode"] == named["episode 0.5"]
    assert mine.sum() == 4 or mine.sum() == 3
    due = found["start"][mine][:, None] + np.arange(6) * 0.1
    known = np.isfinite(found["action_errors"][mine]).all(axis=2)
    np.testing.assert_array_equal(known, due <= 1.5)
    assert np.isnan(found["pose_errors"][mine][~known]).all()
    outcomes = summarise([result])["outcomes"]
    assert outcomes["succeeded"]["value"] == 0.5 and outcomes["succeeded"]["count"] == 2


def test_simulated_time_gives_the_same_errors(tiny_checkpoint, tmp_path):
    marks, results = [(0.5, 1.5, "succeeded")], []
    for name, clock in (("real", None), ("simulated", 50.0)):
        write_teleoperation(tmp_path / name, marks=marks, clock=clock, seconds=2.0)
        folder = tmp_path / f"{name}_out"
        results.append(evaluate(tmp_path / name, folder, by_hand(tiny_checkpoint)))
    real, simulated = (result.read_plans() for result in results)
    for name in ("moment", "episode", "action_errors", "pose_errors"):
        np.testing.assert_allclose(simulated[name], real[name], atol=1e-4)
    begins = [[e["begin"] for e in result.content["episodes"]] for result in results]
    assert begins[1] == pytest.approx(begins[0], abs=1e-4)


def test_marks_of_teleoperation_say_what_was_to_be_done(tiny_checkpoint, tmp_path):
    marks = [(0.5, 1.5, ""), (2.0, 3.0, "")]
    write_teleoperation(tmp_path / "bag", marks=marks)
    wishes = by_hand(tiny_checkpoint, instruction="")
    result = evaluate(tmp_path / "bag", tmp_path / "out", wishes)
    told = [(e["name"], e["instruction"]) for e in result.content["episodes"]]
    assert told == [("episode 0.5", "by hand"), ("episode 2", "by hand")]
    moments = result.read_plans()["moment"]
    np.testing.assert_allclose(moments, [0.5, 0.8, 1.1, 1.4, 2.0, 2.3, 2.6, 2.9], atol=1e-5)
    write_teleoperation(tmp_path / "unmarked")
    with pytest.raises(Dm0Error, match="no messages of /action_chunk"):
        evaluate(tmp_path / "unmarked", tmp_path / "nothing", wishes)


def test_own_checkpoint_makes_the_recorded_plans_and_another_does_not(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint)
    wishes = Wishes(lateness=Lateness(0.0))
    own = evaluate(tmp_path / "bag", tmp_path / "own", wishes)
    assert own.content["compared"] == own.content["plans"] == 10
    assert own.content["identical_observations"] == 10
    assert np.abs(own.read_plans()["plan_errors"]).max() == 0.0
    other = evaluate(tmp_path / "bag", tmp_path / "other", Wishes(seed=1))
    assert np.abs(other.read_plans()["plan_errors"]).max() > 1e-3
    assert other.content["max_abs_difference"] > 1e-3
    names = [(e["name"], e["instruction"]) for e in own.content["episodes"]]
    assert names == [("task 1", "touch the red block"), ("task 2", "touch it")]
    assert own.content["plans_to_stay"] == 0
    live = summarise([own])["latency_ms"]["live"]["total"]
    assert (live["p50"], live["p99"]) == (50.0, 50.0)


def test_recorded_plans_of_another_layout_are_not_compared_but_poses_are(
    tiny_checkpoint, tiny_pose_checkpoint, tmp_path
):
    record(tmp_path / "bag", tiny_checkpoint, ["touch it"])
    wishes = Wishes(checkpoint=str(tiny_pose_checkpoint))
    result = evaluate(tmp_path / "bag", tmp_path / "out", wishes)
    assert result.content["compared"] == 0
    assert result.content["not_comparable"] == result.content["plans"] > 3
    found = result.read_plans()
    assert np.isnan(found["plan_errors"]).all() and np.isfinite(found["pose_errors"]).any()


def test_commands_of_another_length_are_refused(tiny_checkpoint, tmp_path):
    write_teleoperation(tmp_path / "bag", seconds=0.5, short=True)
    with pytest.raises(Dm0Error, match=r"has 6 numbers, but the robot's YAML has 7 names"):
        evaluate(tmp_path / "bag", tmp_path / "out", by_hand(tiny_checkpoint))
    assert not (tmp_path / "out" / "result.json").exists()


def test_the_same_bag_and_setting_give_the_same_files(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint)
    wishes = Wishes(lateness=Lateness(0.0))
    one, other = (evaluate(tmp_path / "bag", tmp_path / n, wishes) for n in ("one", "other"))
    contents = [dict(result.content) for result in (one, other)]
    for content in contents:
        del content["timing"]
    assert contents[0] == contents[1]
    first, second = one.read_plans(), other.read_plans()
    assert first.keys() == second.keys()
    for name in first.keys() - {"latency_replayed"}:
        np.testing.assert_array_equal(first[name], second[name])
    motion = contents[0]["episodes"][0]["motion"]
    assert motion["velocity"]["ticks"][0] > 0, "an executor was rehearsed"


def test_progress_is_held_against_the_time_that_had_passed(tiny_progress_checkpoint, tmp_path):
    write_teleoperation(tmp_path / "bag", marks=[(0.5, 3.5, "succeeded")])
    result = evaluate(tmp_path / "bag", tmp_path / "out", by_hand(tiny_progress_checkpoint))
    table, found = summarise([result]), result.read_plans()
    names = [episode["name"] for episode in result.content["episodes"]]
    mine = found["episode"] == names.index("episode 0.5")
    done, said = (found["moment"][mine] - 0.5) / 3.0, found["progress"][mine]
    assert np.isfinite(said).all() and said.max() > 0.1
    by_hand_ = [e for e in table["by_episode"] if e["name"] == "episode 0.5"]
    assert by_hand_[0]["progress_error"] == pytest.approx(np.abs(said - done).mean())
    assert by_hand_[0]["progress_bias"] == pytest.approx((said - done).mean())
    assert sum(part["count"] for part in table["calibration"]) >= mine.sum()


def test_a_gripper_that_closes_late_is_late_and_one_that_never_does_has_missed_it(
    tiny_checkpoint, tmp_path
):
    write_teleoperation(tmp_path / "bag")
    tables = {}
    for name, late in (("late", 0.25), ("never", 99.0)):
        folder, scripted = tmp_path / name, lambda *_a, late=late, **_o: Scripted(late)
        wishes = by_hand(tiny_checkpoint)
        evaluate_bag(tmp_path / "bag", Setting("checkpoint", wishes), folder, load=scripted)
        tables[name] = summarise([read_result(folder)])
    late, never = tables["late"]["overall"], tables["never"]["overall"]
    # of two rows 0.1 s apart, one with the gripper open: it closes in between
    assert late["switch_late_s"]["value"] == pytest.approx(0.25, abs=0.06)
    assert late["switch_off_s"]["value"] == pytest.approx(late["switch_late_s"]["value"])
    assert late["switch_late_s"]["count"] >= 3
    assert late["switches_missed"]["value"] == late["switches_spurious"]["value"] == 0.0
    assert never["switches_missed"]["value"] == 1.0 and never["switch_off_s"]["value"] is None
    for name, speed in zip(ROBOT.joint_names, SPEEDS, strict=False):
        error = tables["late"]["by_column"][name]["action"]["mae"]
        assert error["value"] == pytest.approx(abs(speed) * 0.25, abs=1e-5)
        overlap = tables["late"]["by_column"][name]["overlap"]
        assert overlap["value"] == pytest.approx(0.0, abs=1e-6), "every plan says the same"


def test_names_that_do_not_fit_are_found_before_anything_is_loaded(
    tiny_checkpoint, tmp_path, monkeypatch
):
    def never(*_arguments, **_options):
        raise AssertionError("it was too late")

    monkeypatch.setattr(evaluation, "prepare", never)
    names = [f"panda_{name}" for name in ROBOT.column_names]
    write_teleoperation(tmp_path / "bag", seconds=0.5, names=names)
    with pytest.raises(Dm0Error, match=r"has panda_fr3_joint1.*plans for franka by fr3_joint1"):
        evaluate(tmp_path / "bag", tmp_path / "out", by_hand(tiny_checkpoint))
    with pytest.raises(Dm0Error, match="trained for franka, not for ur5"):
        evaluate(tmp_path / "bag", tmp_path / "out", by_hand(tiny_checkpoint, robot="ur5"))
    with pytest.raises(Dm0Error, match="velocity of a base"):
        wishes = by_hand("nano-navigation", robot="mobile_base")
        evaluate(tmp_path / "bag", tmp_path / "out", wishes)
    assert not (tmp_path / "out").exists()
