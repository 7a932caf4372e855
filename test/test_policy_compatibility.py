# SPDX-License-Identifier: Apache-2.0
"""Choices of docs/compatibility.md that no other file tests; and that the document is whole."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from dm0_ros.policy.actions import from_differences, to_differences
from dm0_ros.policy.catalogue import load_catalogue, stretch_step
from dm0_ros.policy.pictures import PadColour
from dm0_ros.policy.prompt import OPENING, prompt_segments
from dm0_ros.policy.protocol import Observation
from dm0_ros.policy.registry import load_policy
from dm0_ros.robots import load_robot
from dm0_ros.robots.poses import quaternions_from_euler

ROOT = Path(__file__).resolve().parent.parent
ROBOT = load_robot("franka")


def test_public_checkpoints_get_the_border_they_were_trained_with():
    given = [entry.settings for entry in load_catalogue().values() if entry.settings]
    assert len(given) > 30
    assert {settings.pad_colour for settings in given} == {PadColour.BLACK}


def test_a_policy_without_statistics_of_the_state_plans_the_same(tiny_checkpoint):
    observation = Observation(
        pictures=dict.fromkeys(("left_hand", "right_hand"), np.full((60, 60, 3), 90, np.uint8)),
        state=np.linspace(-0.5, 0.5, len(ROBOT.layout("joint").columns)),
        instruction="touch the red block",
        stamp=1.0,
    )
    plan = load_policy(str(tiny_checkpoint), ROBOT).infer(observation)
    path = tiny_checkpoint / "norm_stats.json"
    content = json.loads(path.read_text())
    del content["norm_stats"]["state"]
    path.write_text(json.dumps(content))
    again = load_policy(str(tiny_checkpoint), ROBOT).infer(observation)
    # Each load chooses its kernels by their speed, so the order of sums may differ.
    np.testing.assert_allclose(again.values, plan.values, atol=1e-5)


def test_a_prompt_for_actions_ends_with_the_instruction():
    assert prompt_segments("go") == (OPENING, "USER: ", "go ")
    assert "ASSISTANT" not in "".join(prompt_segments("go"))


def test_angles_of_a_plan_run_on_past_pi():
    layout = ROBOT.layout("pose")
    state = np.zeros(len(layout.columns))
    yaw = layout.columns.index("yaw")
    state[yaw] = 3.0
    rows = np.tile(state, (3, 1))
    rows[:, yaw] = [3.1, -3.1, -3.0]  # the short way round goes over pi
    plan = from_differences(to_differences(rows, state, layout), state, layout)
    expected = [3.1, math.tau - 3.1, math.tau - 3.0]
    np.testing.assert_allclose(plan[:, yaw], expected, atol=1e-12)


def test_euler_angles_turn_about_fixed_axes_x_first():
    """facts/dm0_model.md, G.3: the quaternion (x, y, z, w) of public clients."""
    found = quaternions_from_euler(np.array([[0.3, -0.2, 1.1]]))
    np.testing.assert_allclose(found, [[0.178359, -0.006436, 0.526955, 0.830942]], atol=1e-6)


def test_doubled_rows_lie_where_they_were_published():
    """facts/dm0_model.md, G.4: four rows become eight."""
    places = np.arange(8) / stretch_step(1.0, 4)
    published = [0, 0.4286, 0.8571, 1.2857, 1.7143, 2.1429, 2.5714, 3]
    np.testing.assert_allclose(places, published, atol=5e-5)


DOCUMENT = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (\d+) \| (.+) \|$", DOCUMENT, re.MULTILINE))


def cited_tests(text):
    """(file, test) of everything cited; a name that starts with :: is of the file before it."""
    file = None
    for name, test in re.findall(r"`(test_\w+)?::(test_\w+)`", text):
        file = name or file
        yield file, test


def test_every_quirk_is_listed_once():
    assert list(ROWS) == [str(number) for number in range(1, 36)]


@pytest.mark.parametrize("number", ROWS)
def test_every_quirk_has_a_choice_and_its_test(number):
    _, choice, _ = ROWS[number].split(" | ", 2)
    known = {"reproduced", "fixed", "switch", "later", "not ours"}
    assert set(choice.split(" / ")) <= known
    assert choice in ("later", "not ours") or list(cited_tests(ROWS[number]))


@pytest.mark.parametrize(("file", "test"), sorted(set(cited_tests(DOCUMENT))))
def test_every_cited_test_exists(file, test):
    source = (ROOT / "test" / f"{file}.py").read_text(encoding="utf-8")
    assert re.search(rf"^def {test}\(", source, re.MULTILINE)
