# SPDX-License-Identifier: Apache-2.0
"""The worst moments of a bag: the planted one is found, drawn, explained, and seen again."""

import json
import math
import shlex
from dataclasses import replace

import numpy as np
import pytest
from evaluation_bags import HAND, ROBOT, Scripted, by_hand, command_at, write_teleoperation
from PIL import Image
from replay_bags import BEGIN
from replay_recordings import record
from typer.testing import CliRunner

from dm0_ros.cli import app
from dm0_ros.evaluation.evaluate import CHECKPOINT, Setting, evaluate_bag
from dm0_ros.evaluation.explaining import explain
from dm0_ros.evaluation.judging import Judged
from dm0_ros.evaluation.moments import MOST, Moments
from dm0_ros.evaluation.result import read_result
from dm0_ros.evaluation.scaffolds import Likeness
from dm0_ros.evaluation.sights import Sights, Ways
from dm0_ros.policy.protocol import Latency, Observation, Plan
from dm0_ros.policy.reasoning import Thought
from dm0_ros.policy.registry import load_policy
from dm0_ros.replay.run import Wishes, prepare
from dm0_ros.replay.walk import Step
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import Space
from dm0_ros.scaffold.content import Scaffold
from dm0_ros.scaffold.drawing import BOX_COLOUR, PATH_COLOUR, TRAIL_COLOUR
from dm0_ros.scaffold.sketch import Sketch

COLUMNS = ROBOT.layout("joint").columns
RANGES = np.full(len(COLUMNS), 1.0)
PICTURES = {"right_hand": np.full((336, 336, 3), 90, np.uint8)}


class Planted(Scripted):
    """Knows what will be commanded, but for one plan, whose third joint goes astray."""

    def __init__(self, wrong, offset=1.0):
        super().__init__(0.0)
        self.wrong, self.offset, self.count = wrong, offset, 0

    def infer(self, observation, prefix=None):
        plan = super().infer(observation, prefix)
        self.count += 1
        if self.count == self.wrong:
            plan.values[5:, 2] += self.offset * np.arange(25) / 24
        return plan


def evaluate(bag, folder, wishes, load):
    evaluate_bag(bag, Setting(CHECKPOINT, wishes), folder, load=load)
    return read_result(folder)


def read(result, number=0):
    head = result.content["moments"][number]
    return head, json.loads((result.folder / head["file"]).read_text())


def test_the_planted_plan_is_the_worst_and_it_is_said_why(tiny_checkpoint, tmp_path):
    write_teleoperation(tmp_path / "bag", seconds=6.0)
    wishes = by_hand(tiny_checkpoint)
    planted = Planted(5)
    result = evaluate(tmp_path / "bag", tmp_path / "out", wishes, lambda *_a, **_o: planted)
    head, moment = read(result)
    plans = result.read_plans()
    assert head["seconds"] == pytest.approx(plans["moment"][4], abs=1e-3)
    assert head["score"] == pytest.approx(plans["score"][4])
    assert head["score"] == plans["score"].max() == max(m["score"] for m in [head])
    lead = moment["sentences"][0]
    assert lead.startswith("fr3_joint3 is furthest off: 1 rad (57°) above what the robot did")
    assert "in row 30 of 30, due 2.9 s after" in lead and "100 % of the plan's error" in lead
    assert any("made at a time of the replay's own" in s for s in moment["sentences"])
    columns = {column["name"]: column for column in moment["columns"]}
    assert max(columns, key=lambda name: columns[name]["share"]) == "fr3_joint3"
    assert columns["fr3_joint3"]["unit"] == "rad" and columns[HAND]["unit"] == "m"
    plan, actions = np.array(moment["plan"]), np.array(moment["actions"], float)
    np.testing.assert_allclose((plan - actions)[-1, 2], 1.0, atol=1e-3)
    assert all(value is None for row in moment["recorded"] for value in row)


def test_no_more_than_so_many_are_kept_and_they_are_the_worst(tiny_checkpoint, tmp_path):
    write_teleoperation(tmp_path / "bag", seconds=20.0)

    class Drifting(Scripted):
        count = 0

        def infer(self, observation, prefix=None):
            plan = super().infer(observation, prefix)
            self.count += 1
            plan.values[:, 1] += 0.01 * (self.count * 7 % 40)
            return plan

    drifting, held = Drifting(0.0), []
    seen = Moments.see

    def watch(self, judged):
        seen(self, judged)
        held.append(len(self._worst))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Moments, "see", watch)
        wishes = by_hand(tiny_checkpoint)
        result = evaluate(tmp_path / "bag", tmp_path / "out", wishes, lambda *_a, **_o: drifting)
    assert max(held) == MOST == len(result.content["moments"])
    plans = result.read_plans()
    stretches = ((plans["moment"] - plans["moment"][0]) // 2.0).astype(int)
    expected = sorted((plans["score"][stretches == s].max() for s in set(stretches)), reverse=True)
    found = [moment["score"] for moment in result.content["moments"]]
    assert found == pytest.approx(expected[:MOST])


def test_pictures_show_both_ways(tiny_checkpoint, tmp_path):
    """What the robot did is white, the plan yellow to red; only where the camera stands still."""
    write_teleoperation(tmp_path / "bag", seconds=6.0)
    planted = Planted(5)
    wishes = by_hand(tiny_checkpoint)
    result = evaluate(tmp_path / "bag", tmp_path / "out", wishes, lambda *_a, **_o: planted)
    _, moment = read(result)
    pictures = {picture["slot"]: picture for picture in moment["pictures"]}
    assert set(pictures) == {"right_hand", "left_hand"}
    assert pictures["right_hand"]["note"] == ""
    assert "moves with the arm" in pictures["left_hand"]["note"]
    drawn = np.asarray(Image.open(result.folder / pictures["right_hand"]["file"]))
    assert drawn.shape[1] >= 400, "a small picture is enlarged"


def make_judged(plan, actions, recorded=None, thought=None, identical=None, progress=math.nan):
    """A plan (H, D) for the Franka, and what was commanded meanwhile."""
    step = 0.1
    made = Plan(
        BEGIN, step, Space.JOINT_POSITION, COLUMNS, plan, progress, Latency(0, 0, 0, 0), thought
    )
    observation = Observation(PICTURES, plan[0], "touch it", BEGIN)
    return Judged(
        step=Step(observation, made, recorded, BEGIN, identical),
        episode=0,
        times=BEGIN + np.arange(len(plan)) * step,
        actions=actions,
        errors=plan - actions,
        plan_errors=np.full(plan.shape, np.nan) if recorded is None else plan - recorded.rows,
        pose_errors=np.full((len(plan), 1, 2), np.nan),
        score=1.0,
        overlap=np.full(len(COLUMNS), np.nan),
        switches=(),
        likeness=Likeness(math.nan, math.nan, math.nan),
    )


class Recorded:
    """As much of a recorded plan as is explained."""

    def __init__(self, rows, progress=math.nan):
        self.rows = rows
        self.plan = Plan(
            BEGIN, 0.1, Space.JOINT_POSITION, COLUMNS, rows, progress, Latency(0, 0, 0, 0)
        )


def tell(judged, **more):
    return " ".join(explain(judged, ROBOT, RANGES, **more))


def test_grippers_are_told():
    actions = command_at(np.zeros(30))
    planned = actions.copy()
    actions[10:, -1], planned[20:, -1] = 0.0, 0.0
    assert f"{HAND} closes 1.0 s too late." in tell(make_judged(planned, actions))
    assert f"{HAND} closes 1.0 s too early." in tell(make_judged(actions, planned))
    still = command_at(np.zeros(30))
    assert f"{HAND} does not close; the robot's did after 1.0 s." in tell(
        make_judged(still, actions)
    )
    assert f"{HAND} closes after 1.0 s; the robot's did not." in tell(make_judged(actions, still))
    closed = still.copy()
    closed[:, -1] = 0.0
    assert "is closed in all of it, and the robot's was open" in tell(make_judged(closed, still))
    assert "further closed than what the robot did" in tell(make_judged(closed, still))


@pytest.mark.parametrize(
    ("ahead", "there", "sentence"),
    [
        (
            (0.0, 0.002, 0.0),
            (0.3, 0.0, 0.0),
            "hardly anywhere (2 mm), while the robot took it 300",
        ),
        ((0.2, 0.0, 0.0), (0.0, 0.0, 0.0), "200 mm away, while the robot hardly moved it (0 mm)"),
        ((0.0, 0.2, 0.0), (0.2, 0.0, 0.0), "another way: 200 mm, 90° off the 200 mm"),
        ((0.1, 0.0, 0.0), (0.2, 0.0, 0.0), "the way that it went (0° off), 100 mm instead of 200"),
        ((0.2, 0.1, 0.0), (0.2, 0.0, 0.0), "the tool is 100 mm from where it was, to the left."),
        ((0.2, 0.0, -0.1), (0.2, 0.0, 0.0), "the tool is 100 mm from where it was, down."),
    ],
)
def test_ways_are_told(ahead, there, sentence):
    shares = np.linspace(0.0, 1.0, 20)[:, None]
    ways = Ways(*(np.array([shares * way]) for way in (ahead, ahead, there)))
    rows = command_at(np.zeros(20))
    assert sentence in tell(make_judged(rows, rows - 0.1), ways=ways)


def test_the_same_way_at_another_pace_is_told():
    times = np.linspace(0.0, 1.0, 31)[:, None]
    slow, fast = times * [0.3, 0.0, 0.0], np.minimum(3 * times, 1.0) * [0.3, 0.0, 0.0]
    rows = command_at(np.zeros(31))
    ways = Ways(np.array([fast]), np.array([fast]), np.array([slow]))
    said = tell(make_judged(rows, rows - 0.1), ways=ways)
    assert "and sooner: half of it after 0.5 s, the robot after 1.5 s" in said
    hardly = Ways(np.array([fast / 9]), np.array([fast / 9]), np.array([slow]))
    assert "sooner" not in tell(make_judged(rows, rows - 0.1), ways=hardly)


def test_the_recorded_plan_and_what_was_seen_are_told():
    actions = command_at(np.zeros(10))
    good, bad = actions + 0.01, actions + 0.1
    again = tell(make_judged(good, actions, Recorded(good), identical=True))
    assert "It is the recorded plan, number for number" in again
    assert "saw bit by bit what the live one saw" in again
    worse = tell(make_judged(bad, actions, Recorded(good), identical=False))
    assert "The recorded plan of this moment was 10.0 times as near." in worse
    assert "did not see what the live one saw" in worse
    better = tell(make_judged(good, actions, Recorded(bad)))
    assert "was 10.0 times as far off." in better and "was not recorded" in better
    told = tell(make_judged(good, actions, Recorded(bad, 0.2), progress=0.9))
    assert "takes the task to be 90 % done; the live policy said 20 %." in told


def test_what_is_not_known_is_said_and_the_rest_left_out():
    rows = command_at(np.zeros(10))
    nothing = tell(make_judged(rows, np.full(rows.shape, np.nan)))
    assert nothing.startswith("What the robot did at these times is not in the bag.")
    actions = rows - 0.1
    actions[4:] = np.nan
    said = tell(make_judged(rows, actions))
    assert "compared for 0.3 s: then the episode, or the bag, ended. 6 of 10 rows" in said
    assert "It is off from its first row on, by 0.1 rad" in said


def make_thought(subtask, box=(100, 100, 300, 300), rejection=""):
    scaffold = None if rejection else Scaffold(subtask, box, {"main": ((500, 500), (800, 300))})
    return Thought(
        "text", (1,), scaffold, rejection, "touch it", BEGIN, BEGIN, "right_hand", 336, 336, 1.0
    )


def test_reasoning_that_names_another_goal_is_told_and_drawn():
    rows = command_at(np.zeros(10))
    live = Sketch(
        "right_hand", 336, 336, "touch the red block", np.array([200, 200, 250, 260]), ()
    )
    judged = make_judged(rows, rows - 0.1, thought=make_thought("touch the blue block"))
    said = tell(judged, live=live)
    assert "Its reasoning says “touch the blue block”." in said
    assert "The recorded one says “touch the red block”: another goal." in said
    assert "goal boxes are" in said and "another place in the picture" in said
    refused = make_judged(rows, rows - 0.1, thought=make_thought("", rejection="no numbers"))
    assert "Its reasoning text was refused: no numbers." in tell(refused)
    seen = make_judged(rows, rows - 0.1)
    assert "saw the reasoning of the live policy: “touch the red block”" in tell(seen, live=live)
    sights = Sights(ROBOT)
    (sight,) = sights.show(seen, None, live)
    assert (sight.picture == BOX_COLOUR).all(axis=2).sum() > 100
    (bare,) = sights.show(seen, None, None)
    assert (bare.picture == PICTURES["right_hand"]).all() and "says nothing of a tool" in bare.note
    told = replace(live, paths=(np.array([[10.0, 10.0], [200.0, 100.0]]),))
    (sight,) = sights.show(seen, sights.find_ways(seen), told)
    assert (sight.picture == PATH_COLOUR).all(axis=2).sum() > 20


def test_ways_are_those_of_forward_kinematics_and_only_of_known_rows():
    rows = command_at(np.arange(10.0))
    actions = rows.copy()
    actions[6:] = np.nan
    judged = make_judged(rows + 0.0, actions)
    ways = Sights(ROBOT).find_ways(judged)
    assert ways.plan.shape == (1, 10, 3) and ways.planned.shape == ways.gone.shape == (1, 6, 3)
    np.testing.assert_allclose(ways.planned, ways.gone, atol=1e-9)
    np.testing.assert_allclose(ways.plan[:, :6], ways.planned, atol=1e-9)


def test_both_ways_are_drawn_where_they_are_in_the_picture():
    rows = command_at(np.zeros(10))
    planned, gone = rows.copy(), rows.copy()
    planned[:, 0] += np.linspace(0.0, 0.4, 10)  # the first joint turns the tool to the left
    gone[:, 0] -= np.linspace(0.0, 0.4, 10)
    sights, judged = Sights(ROBOT), make_judged(planned, gone)
    (sight,) = sights.show(judged, sights.find_ways(judged), None)
    coloured = np.ptp(sight.picture.astype(int), axis=2) > 100
    white = (sight.picture == TRAIL_COLOUR).all(axis=2)
    assert coloured.sum() > 50 and white.sum() > 50
    sides = [np.nonzero(mask)[1].mean() for mask in (coloured, white)]
    camera = ROBOT.simulation.cameras["right_hand"]
    assert camera.position[0] > camera.target[0], "it looks at the robot: its left is our right"
    assert sides[0] > sides[1] + 20


@pytest.mark.parametrize("name", ["ur5", "arx5", "aloha", "mobile_base"])
def test_ways_of_every_robot(name):
    robot = load_robot(name)
    columns = robot.column_names or ("vx", "vy", "wz")
    rows = np.array([[robot.home.get(column, 0.0) for column in columns]] * 5)
    judged = make_judged(rows, rows)
    space = Space.JOINT_POSITION if robot.joints else Space.BASE_TWIST
    plan = replace(judged.step.plan, names=columns, space=space)
    judged = replace(judged, step=replace(judged.step, plan=plan))
    sights, arms = Sights(robot), len(robot.end_effectors)
    ways = sights.find_ways(judged)
    if arms:
        assert ways.gone.shape == (arms, 5, 3)
    else:
        assert ways is None
    slot = robot.camera_slots[0]
    observation = replace(judged.step.observation, pictures={slot: PICTURES["right_hand"]})
    judged = replace(judged, step=replace(judged.step, observation=observation))
    (sight,) = sights.show(judged, ways, None)
    assert sight.slot == slot and (sight.picture.shape == (672, 672, 3) or sight.note)


class Spoiled:
    """A policy whose plan number ``wrong`` is off; all else is the real one's."""

    def __init__(self, policy, wrong):
        self._policy, self._wrong, self._count = policy, wrong, 0

    def __getattr__(self, name):
        return getattr(self._policy, name)

    def infer(self, observation, prefix=None):
        plan = self._policy.infer(observation, prefix)
        self._count += 1
        if self._count == self._wrong:
            plan = replace(plan, values=plan.values + 2.0 * (np.arange(plan.values.shape[1]) == 4))
        return plan


def test_of_recorded_plans_the_worst_is_seen_again_by_what_is_printed(tiny_checkpoint, tmp_path):
    """The commands on the page find it: its part alone can be replayed, and viewed."""
    bag = tmp_path / "a bag"
    live = record(bag, tiny_checkpoint, ["touch the red block", "touch it"], seconds=2.0)
    wrong = len(live.plans) // 2 + 3

    def load(*arguments, **options):
        return Spoiled(load_policy(*arguments, **options), wrong)

    result = evaluate(bag, tmp_path / "out", Wishes(seed=0), load)
    head, moment = read(result)
    assert head["sequence"] == wrong and head["instruction"] == "touch it"
    assert head["identical"] is True
    assert moment["sentences"][0].startswith("fr3_joint5 is furthest off: ")
    words = shlex.split(moment["commands"]["replay"])
    assert words[:3] == ["dm0", "replay", str(bag)] and "--seed" in words
    path = tmp_path / "replay.json"
    found = CliRunner().invoke(app, [*words[1:], "--latency", "off", "--json", str(path)])
    assert found.exit_code == 0, found.output
    figures = json.loads(path.read_text())
    assert 3 <= figures["plans"] == figures["compared"] <= 10, "its task, from the first plan on"
    assert figures["max_abs_difference"] == 0.0
    words = shlex.split(moment["commands"]["view"])
    assert words[:5] == ["dm0", "view", "franka", "--bag", str(bag)]
    begin, end = (float(words[words.index(name) + 1]) for name in ("--from", "--to"))
    assert begin < head["seconds"] < end


def test_nothing_is_written_where_nothing_can_be_compared(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.5)
    subject = prepare(tmp_path / "bag", Wishes())
    moments = Moments(tmp_path / "bag", Wishes(), subject, RANGES, [])
    rows = command_at(np.zeros(4))
    moments.see(replace(make_judged(rows, rows), score=math.nan))
    assert moments.finish(tmp_path / "out", BEGIN) == []
    assert not (tmp_path / "out").exists()
