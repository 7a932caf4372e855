# SPDX-License-Identifier: Apache-2.0
"""What models answer, as motions."""

import math

import numpy as np
import pytest

from dm0_ros.errors import Dm0Error, PlanError
from dm0_ros.navigation.heads import HEADS, Steps, VelocityRows, Waypoints, Words, make_head
from dm0_ros.navigation.routes import Route, Velocities


@pytest.mark.parametrize(
    ("text", "pose"),
    [
        ("The next action is move forward 75 cm.", (0.75, 0, 0)),
        ("move forward 25cm", (0.25, 0, 0)),
        ("move forward 0.5 m", (0.5, 0, 0)),
        ("move forward 60 cm", (0.5, 0, 0)),
        ("move forward 300 cm", (0.75, 0, 0)),
        ("the next action is turn left 30 degrees", (0, 0, 30)),
        ("turn right 45 degree", (0, 0, -45)),
        ("turn right 20 degrees", (0, 0, -15)),
        ("TURN LEFT 90 DEGREES", (0, 0, 45)),
        ("turn left 15 degrees, then move forward 75 cm", (0, 0, 15)),
        ("move forward 25 cm and stop", (0.25, 0, 0)),
    ],
)
def test_words(text, pose):
    route = Words().read(text)
    assert route.poses == pytest.approx(np.array([[pose[0], pose[1], math.radians(pose[2])]]))


@pytest.mark.parametrize(
    "text",
    ["stop", "The next action is stop.", "", "the chair is behind you", "move forward",
     "turn left", "turn around 180 degrees", "forward far", "stop, do not move forward 25 cm"],
)  # fmt: skip
def test_words_that_stop_and_words_that_cannot_be_read(text):
    assert Words().read(text).stays


def test_steps_are_done_in_turn_up_to_a_stop():
    route = Steps().read("left forward stop forward")
    turn = math.radians(30)
    end = (0.25 * math.cos(turn), 0.25 * math.sin(turn), turn)
    assert route.poses == pytest.approx(np.array([(0, 0, turn), end]))
    assert Steps().read("stop").stays and Steps().read("dance forward").stays
    assert Steps(turn=math.radians(15)).read("right").poses[0, 2] == pytest.approx(-turn / 2)


def test_waypoints():
    poses = [(0.5, 0.1, 0.0), (1.0, 0.3, 0.2)]
    assert Waypoints().read(poses).poses == pytest.approx(np.array(poses))
    assert Waypoints().read(np.zeros((4, 3))).stays
    assert Waypoints().read([]).stays


def test_velocities():
    motion = VelocityRows(0.5).read([(0.4, 0.0, 0.0), (0.2, 0.0, 1.0)])
    assert motion.duration == 1.0
    assert motion.at(0.0).tolist() == [0.4, 0.0, 0.0]
    assert motion.at(0.5).tolist() == [0.2, 0.0, 1.0]
    assert motion.at(1.0).tolist() == [0.0, 0.0, 0.0]
    planar = VelocityRows(0.5, ("vx", "wz"))
    assert planar.read([(0.4, 1.0)]).rows.tolist() == [[0.4, 0.0, 1.0]]


def test_velocities_lead_along_exact_arcs():
    # a quarter of a circle of radius 0.5 m, in ten rows
    rows = np.tile([0.5 * math.pi / 2, 0.0, math.pi / 2], (10, 1))
    route = Velocities(0.1, rows).route()
    assert route.poses[-1] == pytest.approx([0.5, 0.5, math.pi / 2])
    assert route.length() == pytest.approx(0.5 * math.pi / 2, rel=2e-3)
    sideways = Velocities(1.0, np.array([[0.0, 0.3, 0.0]])).route()
    assert sideways.poses[-1] == pytest.approx([0.0, 0.3, 0.0])


def test_the_point_ahead_on_a_route():
    route = Route(np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))
    assert route.ahead(np.array([0.2, 0.1]), 0.5) == pytest.approx([0.7, 0.0])
    assert route.ahead(np.array([0.8, 0.1]), 0.5) == pytest.approx([1.0, 0.3])
    assert route.ahead(np.array([1.0, 0.9]), 0.5) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("name", HEADS)
def test_heads_by_name_refuse_what_they_cannot_read(name):
    head = make_head(name)
    bad = 7 if name in ("words", "steps") else [(math.nan, 0.0, 0.0)]
    with pytest.raises(PlanError, match=r"takes a text|not finite"):
        head.read(bad)


def test_wrong_shapes_and_names():
    for wrong in ([1.0, 2.0], [(1.0, 2.0)]):
        with pytest.raises(PlanError, match="velocities must have 3 columns, not the shape"):
            VelocityRows(0.1).read(wrong)
    with pytest.raises(PlanError, match="no velocity vz; it has vx, vy, wz"):
        VelocityRows(0.1, ("vx", "vz"))
    with pytest.raises(PlanError, match="must have the shape"):
        Route(np.zeros((2, 2)))
    with pytest.raises(PlanError, match="positive step"):
        VelocityRows(0.0).read([(0.1, 0.0, 0.0)])
    with pytest.raises(Dm0Error, match="no navigation head 'song'; there are words"):
        make_head("song")
