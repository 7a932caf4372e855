# SPDX-License-Identifier: Apache-2.0
"""The ObjectNav task's rules, and the agents that bracket all others."""

import math

import numpy as np
import pytest
from houses import make_house, two_rooms

from dm0_ros.navigation.agents import Follower, RandomWalker, ShortestPath
from dm0_ros.navigation.house import HouseError, load_house
from dm0_ros.navigation.metrics import summarise
from dm0_ros.navigation.objectnav import Action, Episode, ObjectNav, Rules, choose_episodes
from dm0_ros.navigation.routes import Route
from dm0_ros.robots import load_robot

ROOM = ObjectNav(make_house())


def begin(task=ROOM, x=1.0, y=1.0, yaw=0.0):
    task.begin(Episode("box", (x, y, yaw)))
    return task


def test_the_rules_are_habitats():
    rules = Rules()
    assert (rules.forward, math.degrees(rules.turn), rules.steps) == (0.25, pytest.approx(30), 500)
    assert (rules.success_distance, rules.view_distance, rules.radius) == (0.1, 1.0, 0.18)
    assert (rules.width, rules.height, rules.eye_height) == (640, 480, 0.88)
    assert rules.depth == (0.5, 5.0)
    assert [action.value for action in Action] == list(range(6))


def test_the_robots_camera_is_that_of_the_rules():
    robot, rules = load_robot("mobile_base"), Rules()
    camera = robot.simulation.cameras["front"]
    assert (camera.width, camera.height) == (rules.width, rules.height)
    assert camera.field_of_view == pytest.approx(rules.vertical_field_of_view, abs=1e-5)
    assert camera.position == (0.0, 0.0, rules.eye_height)
    assert robot.base.radius == rules.radius


def test_driving_and_turning():
    task = begin()
    task.step(Action.MOVE_FORWARD)
    assert task.pose == pytest.approx([1.25, 1.0, 0.0])
    task.step(Action.TURN_LEFT)
    task.step(Action.MOVE_FORWARD)
    assert task.pose == pytest.approx([1.25 + 0.25 * math.cos(math.pi / 6), 1.125, math.pi / 6])
    task.step(Action.TURN_RIGHT)
    task.step(Action.TURN_RIGHT)
    assert task.pose[2] == pytest.approx(-math.pi / 6)
    assert task.travelled == pytest.approx(0.5) and task.taken == 5


def test_obstacles_stop_the_agent_and_it_does_not_slide():
    task = begin(x=0.4, y=1.0, yaw=math.radians(150))
    task.step(Action.MOVE_FORWARD)
    # the wall is at 0.1, the radius 0.18: 0.12 m to go in x
    moved = 0.12 / math.cos(math.pi / 6)
    assert task.collided
    assert task.pose[:2] == pytest.approx([0.28, 1.0 + moved / 2], abs=1e-5)
    assert task.travelled == pytest.approx(moved, abs=1e-5)
    task.step(Action.MOVE_FORWARD)
    assert task.pose[:2] == pytest.approx([0.28, 1.0 + moved / 2], abs=1e-5)


def test_looking_up_and_down_ends_at_the_vertical():
    task = begin()
    for _ in range(5):
        task.step(Action.LOOK_UP)
    assert task.tilt == pytest.approx(math.pi / 2)
    task.step(Action.LOOK_DOWN)
    assert task.tilt == pytest.approx(math.pi / 3)


def test_the_end_is_a_stop_or_the_last_step():
    task = ObjectNav(make_house(), Rules(steps=3))
    begin(task)
    for _ in range(3):
        assert not task.over
        task.step(Action.TURN_LEFT)
    assert task.over and not task.result().stopped
    begin(task)
    task.step(Action.STOP)
    assert task.over and task.result().stopped and not task.result().success


def test_success_is_a_stop_within_a_tenth_of_a_view_point():
    # view points are within 1 m of the box, which ends at x = 2.8, on a grid at 0.05 + k / 10
    for x, success in ((1.85, True), (1.76, True), (1.74, False), (1.2, False)):
        begin(x=x, y=2.05)
        ROOM.step(Action.STOP)
        assert ROOM.result().success is success, x
        assert ROOM.result().distance == pytest.approx(max(0.0, 1.85 - x), abs=1e-6)


def test_what_the_agent_sees():
    looks = []

    def look(position, yaw, tilt):
        looks.append((position, yaw, tilt))
        return np.zeros((480, 640, 3), np.uint8), np.array([[0.2, 0.5, 2.75, 5.0, 40.0]])

    task = begin(ObjectNav(make_house(), look=look), yaw=math.pi / 2)
    for action in (Action.MOVE_FORWARD, Action.TURN_RIGHT, Action.MOVE_FORWARD, Action.LOOK_UP):
        task.step(action)
    percept = task.observe()
    # ahead at first, then 30 degrees to the right of that
    assert percept.gps == pytest.approx([0.25 + 0.25 * math.cos(math.pi / 6), 0.125])
    assert percept.compass == pytest.approx(-math.pi / 6)
    assert percept.depth[0, :, 0] == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])
    ((position, yaw, tilt),) = looks
    assert position == pytest.approx([1.125, 1.0 + percept.gps[0], 0.88])
    assert (yaw, tilt) == pytest.approx((math.pi / 3, math.pi / 6))


def test_episodes_repeat_by_seed_take_categories_in_turn_and_start_away():
    task = ObjectNav(load_house("house"))
    episodes = choose_episodes(task, 12, 7)
    assert episodes == choose_episodes(task, 12, 7) != choose_episodes(task, 12, 8)
    assert [e.category for e in episodes] == list(task.house.categories) * 2
    for episode in episodes:
        task.begin(episode)
        assert task.distance() >= 1.0
    assert episodes[:5] == choose_episodes(task, 5, 7)


def test_a_start_that_does_not_exist():
    with pytest.raises(HouseError, match="found no start 50 m away"):
        ROOM.sample(np.random.default_rng(0), "box", 50.0)
    with pytest.raises(HouseError, match="does not fit"):
        ROOM.begin(Episode("box", (3.0, 2.0, 0.0)))


def roll_out(task, agent, episodes):
    results = []
    for number, episode in enumerate(episodes):
        task.begin(episode)
        agent.begin(number)
        while not task.over:
            task.step(agent.act(task))
        results.append(task.result())
    return results


def test_the_brackets():
    task = ObjectNav(two_rooms())
    episodes = choose_episodes(task, 12, 3)
    best = summarise(roll_out(task, ShortestPath(task), episodes))
    assert best["sr"] == 1.0 and best["spl"] > 0.9
    walker = roll_out(task, RandomWalker(3), episodes)
    assert summarise(walker)["spl"] < best["spl"]
    assert walker == roll_out(task, RandomWalker(3), episodes)
    assert any(result.travelled > 1.0 for result in walker)


def follow(route, count=3):
    return Follower(math.radians(30), 0.25, 0.5).actions(Route(np.array(route, float)), count)


def test_a_route_becomes_actions():
    ahead = [(0.5, 0.0, 0.0), (1.0, 0.0, 0.0), (2.0, 0.0, 0.0)]
    assert follow(ahead) == [Action.MOVE_FORWARD] * 3
    left = [(0.0, 0.5, 1.57), (0.0, 1.0, 1.57)]
    assert follow(left, 4) == [Action.TURN_LEFT] * 3 + [Action.MOVE_FORWARD]
    assert follow([(0.0, 0.0, -1.0)]) == [Action.TURN_RIGHT] * 2
    assert follow([(0.3, 0.0, 0.0)]) == [Action.MOVE_FORWARD]
    assert follow([(0.02, 0.01, 0.1)]) == [Action.STOP]
