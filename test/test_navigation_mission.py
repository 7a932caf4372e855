# SPDX-License-Identifier: Apache-2.0
"""A mission from the first look to its end, with a simulated base on a simulated clock."""

import numpy as np
import pytest
from houses import make_house

from dm0_ros.errors import InstructionError, ObservationError, PlanError
from dm0_ros.navigation.controller import BaseController, Fix, State
from dm0_ros.navigation.guide import Guide
from dm0_ros.navigation.house import load_house
from dm0_ros.navigation.judge import Judge
from dm0_ros.navigation.mission import Mission, MissionSettings, Sight, leads_nowhere
from dm0_ros.navigation.pursuit import PursuitSettings, wrap
from dm0_ros.navigation.routes import Route, Velocities
from dm0_ros.navigation.senses import Senses
from dm0_ros.policy.verdict import Outcome
from dm0_ros.robots import load_robot
from dm0_ros.sim.house_simulator import HouseSimulator

ROBOT = load_robot("mobile_base")
SETTINGS = MissionSettings(
    period=0.4, time_limit=60.0, observation_timeout=1.0, votes=3, attempts=3
)
STOP = Route(np.empty((0, 3)))
PURSUIT = PursuitSettings(0.5, 1.2, 0.35, 2.5, 0.15, 0.3)
PICTURE = np.zeros((4, 4, 3), np.uint8)
DT = 0.05


class World:
    """Simulator, controller and senses on one simulated clock; itself the mission's output."""

    def __init__(self, house, pose, think):
        self.simulator = HouseSimulator(ROBOT, house)
        self.simulator.arrange(pose)
        self.controller = BaseController(ROBOT.base, 0.5)
        self.senses = Senses(0.5, 0.5)
        self.think = think
        self.sees = self.rolls = True
        self.reasons = []

    def drive(self, motion, origin):
        self.controller.drive(motion, origin)

    def stop(self, reason):
        self.controller.stop(reason)

    def status(self):
        return self.controller.state, self.controller.reason

    def mission(self, settings=SETTINGS, instruction="find the box"):
        return Mission(
            instruction,
            lambda: self.senses.look(self.simulator.time),
            lambda sight, text: self.think(self, sight, text),
            self,
            settings,
            monotonic=lambda: self.simulator.time,
        )

    def tick(self):
        fix = Fix(self.simulator.odometry().pose, self.simulator.time)
        if self.rolls:
            self.senses.add_fix(fix)
            self.controller.note(fix)
        if self.sees:
            self.senses.add_picture(fix.stamp, lambda: PICTURE)
        self.simulator.command(self.controller.tick(self.simulator.time))
        self.reasons.append(self.controller.reason)
        self.simulator.step(DT)

    def pursue(self, mission, ticks=2000, watch=lambda: None):
        for _ in range(ticks):
            self.tick()
            watch()
            if verdict := mission.step():
                self.stop(verdict.message)
                return verdict
        raise AssertionError("the mission does not end")


def guided(category, house):
    guide = Guide(house, ROBOT.base.radius, 0.08, 0.55, 0.88)

    def think(world, sight, text):
        (rows,) = guide.plan(world.simulator.pose, (category,), 16, 0.25, PURSUIT)
        return Velocities(0.25, rows)

    return think


@pytest.mark.parametrize("category", ["toilet", "tv"])
def test_a_guided_base_drives_through_the_house_to_the_object(category):
    house = load_house("house")
    world = World(house, (7.0, 5.2, 2.0), guided(category, house))
    judge = Judge(house)
    assert judge.begin(f"please find the {category}", world.simulator.pose)
    mission = world.mission()
    while (verdict := mission.step()) is None:
        world.tick()
        judge.note(world.simulator.pose)
    assert verdict.outcome is Outcome.SUCCEEDED
    result = judge.result(stopped=True)
    assert result.success and result.spl > 0.7
    assert result.travelled == pytest.approx(world.simulator.travelled, rel=0.05)
    assert mission.plans > 10 and world.simulator.bumps == 0


def test_one_plan_that_says_stop_is_not_enough():
    answers = [STOP, STOP, Route(np.array([[0.5, 0.0, 0.0]])), STOP, STOP, STOP]
    world = World(make_house(), (1.0, 1.0, 0.0), lambda *_: answers.pop(0))
    verdict = world.pursue(world.mission())
    assert (verdict.outcome, verdict.message) == (Outcome.SUCCEEDED, "the plan says: here")
    assert not answers


def forward(*_):
    return Route(np.array([[1.0, 0.0, 0.0]]))


def test_a_base_that_is_blocked_turns_away_and_then_gives_up():
    ahead = Velocities(0.5, np.array([[0.4, 0.0, 0.0]] * 8))
    # into a corner, from where the turns lead into the walls beside it
    world = World(make_house(), (5.6, 0.4, -0.78), lambda *_: ahead)
    yaws = set()
    verdict = world.pursue(
        world.mission(), watch=lambda: yaws.add(round(world.simulator.pose[2], 1))
    )
    assert verdict.outcome is Outcome.FAULT
    assert "3 motions in a row failed: blocked" in verdict.message
    assert max(yaws) - min(yaws) > 1.2


def test_failures_far_apart_are_not_in_a_row():
    def think(world, sight, text):
        x, y, yaw = world.simulator.pose
        if x > 4.5:
            return STOP
        gap = np.array([1.0, 1.0 - y])
        turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
        return Route(np.array([[*(turn @ gap), -yaw]]))

    def get_in_the_way():
        if hurdles and world.simulator.pose[0] > hurdles[0]:
            hurdles.pop(0)
            world.stop("someone is in the way")

    settings = MissionSettings(0.4, 60.0, 1.0, votes=1, attempts=2)
    hurdles = [1.5, 2.2, 2.9]
    world = World(make_house(), (1.0, 1.0, 0.0), think)
    verdict = world.pursue(world.mission(settings), watch=get_in_the_way)
    assert verdict.outcome is Outcome.SUCCEEDED and not hurdles
    hurdles = [1.5, 1.75]
    world = World(make_house(), (1.0, 1.0, 0.0), think)
    verdict = world.pursue(world.mission(settings), watch=get_in_the_way)
    assert verdict.outcome is Outcome.FAULT
    assert verdict.message == "2 motions in a row failed: someone is in the way"


def test_blindness_is_named_after_a_while():
    world = World(make_house(), (1.0, 1.0, 0.0), forward)
    world.sees = False
    verdict = world.pursue(world.mission())
    assert verdict.outcome is Outcome.FAULT
    assert verdict.message == "no picture yet; check that the camera publishes"
    assert 1.0 <= world.simulator.time < 1.5


def test_pictures_that_stop_coming():
    world = World(make_house(), (1.0, 1.0, 0.0), forward)
    mission = world.mission()
    for _ in range(10):
        world.tick()
        assert mission.step() is None
    world.sees = False
    verdict = world.pursue(mission)
    assert verdict.outcome is Outcome.FAULT and "the newest picture is" in verdict.message


def test_odometry_that_stops_coming_stops_the_base():
    world = World(make_house(), (1.0, 1.0, 0.0), forward)
    mission = world.mission()
    for _ in range(20):
        world.tick()
        mission.step()
    world.rolls = False
    verdict = world.pursue(mission)
    assert verdict.outcome is Outcome.FAULT
    assert any("the last odometry is" in reason for reason in world.reasons)
    for _ in range(40):
        world.tick()
    assert not np.any(world.simulator.twist)


def test_the_time_limit():
    world = World(make_house(), (1.0, 1.0, 0.0), lambda *_: None)
    verdict = world.pursue(world.mission(MissionSettings(0.1, 2.0, 60.0, 1, 1)))
    assert (verdict.outcome, verdict.message) == (Outcome.TIME_LIMIT, "not there within 2 s")


def test_an_end_that_is_asked_for():
    world = World(make_house(), (1.0, 1.0, 0.0), forward)
    mission = world.mission()
    mission.end(Outcome.CANCELLED, "cancelled on request")
    mission.end(Outcome.FAULT, "later")
    verdict = mission.run()
    assert (verdict.outcome, verdict.message) == (Outcome.CANCELLED, "cancelled on request")
    assert world.status() == (State.STOPPED, "cancelled on request")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(InstructionError("too long"), Outcome.REJECTED), (PlanError("NaN"), Outcome.FAULT)],
)
def test_a_policy_that_cannot(error, outcome):
    def think(*_):
        raise error

    world = World(make_house(), (1.0, 1.0, 0.0), think)
    verdict = world.pursue(world.mission())
    assert (verdict.outcome, verdict.message) == (outcome, str(error))


def test_a_turn_on_the_spot_goes_on_in_its_direction():
    """A policy that finds left and right best in turn gets round all the same."""
    plans = []

    def think(*_):
        plans.append((-1) ** len(plans))
        return Velocities(0.25, np.array([[0.0, 0.0, 0.8 * plans[-1]]] * 6 + [[0.4, 0, 0]] * 4))

    world = World(make_house(), (1.5, 1.0, 0.0), think)
    turned, last = 0.0, world.simulator.pose[2]
    mission = world.mission()
    while world.simulator.time < 6.0:
        world.tick()
        assert mission.step() is None
        turned += wrap(world.simulator.pose[2] - last)
        last = world.simulator.pose[2]
    assert len(plans) > 10 and turned > 3.0
    assert world.simulator.travelled < 0.05


def test_what_means_stop():
    assert leads_nowhere(STOP)
    assert not leads_nowhere(Route(np.array([[0.0, 0.0, 0.3]])))
    quiet = np.array([[0.01, 0.0, 0.02]] * 16)
    assert leads_nowhere(Velocities(0.25, quiet))
    assert not leads_nowhere(Velocities(0.25, quiet + np.array([0.1, 0.0, 0.0])))
    # a turn alone is the end of a way, unless turns are said to count
    turn = Velocities(0.25, np.array([[0.0, 0.0, 0.8]] * 2 + [[0.0, 0.0, 0.0]] * 2))
    assert leads_nowhere(turn) and not leads_nowhere(turn, turn=0.26)
    # there and back is a motion
    swing = Velocities(0.25, np.array([[0.0, 0.0, 0.8]] * 2 + [[0.0, 0.0, -0.8]] * 2))
    assert not leads_nowhere(swing, turn=0.26)


def test_senses_pair_a_picture_with_the_odometry_of_its_time():
    senses = Senses(0.5, 1.0)
    with pytest.raises(ObservationError, match="no odometry yet"):
        senses.look(0.0)
    for tick in range(10):
        senses.add_fix(Fix(np.array([0.1 * tick, 0.0, 0.0]), 0.1 * tick))
    senses.add_picture(0.52, lambda: PICTURE)
    sight = senses.look(1.0)
    assert sight.fix.pose[0] == pytest.approx(0.5) and sight.fix.stamp == 0.52
    assert sight.picture is PICTURE
    with pytest.raises(ObservationError, match=r"newest odometry is 0.60 s old, more than 0.5 s"):
        senses.look(1.5)
    blind = Senses(0.5, None)
    blind.add_fix(Fix(np.zeros(3), 1.0))
    assert isinstance(blind.look(1.0), Sight) and blind.look(1.0).picture is None


def test_a_judge_needs_one_category_in_the_sentence():
    judge = Judge(load_house("house"))
    assert not judge.begin("find something nice", np.array([2.5, 6.0, 0.0]))
    assert not judge.begin("find the chair or the couch", np.array([2.5, 6.0, 0.0]))
    assert judge.begin("Find the COUCH", np.array([2.5, 6.0, 0.0]))
    judge.note(np.array([2.2, 6.4, 0.0]))
    result = judge.result(stopped=False)
    assert result.travelled == pytest.approx(0.5) and not result.success
