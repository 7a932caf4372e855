# SPDX-License-Identifier: Apache-2.0
"""Files for RViz and Foxglove: as the tool makes them, well-formed, of topics that there are.

Neither program runs here: that they like the files is untried.
"""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

from dm0_ros import bringup
from dm0_ros.nodes.overlay import drawn_slots
from dm0_ros.robots.description import load_urdf
from dm0_ros.robots.loading import load_robot

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config"
ROBOTS = sorted(p.stem for p in CONFIG.glob("*.yaml") if p.stem != "checkpoints")
robots = pytest.mark.parametrize("robot", ROBOTS)
FIELDS = {
    "executor_status": "ExecutorStatus",
    "action_chunk": "ActionChunk",
}


def load_tool():
    path = ROOT / "tools/make_views.py"
    specification = importlib.util.spec_from_file_location("make_views", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


TOOL = load_tool()


def published(robot):
    """Topics, without a namespace, of the graph in simulation and of what it is driven by."""
    spec = load_robot(robot)
    names = {process.name for process in bringup.describe(robot, sim="true")}
    topics = {f"camera/{slot}/image_raw" for slot in spec.camera_slots}
    topics |= {"robot_description", "diagnostics"}  # of robot_state_publisher, and of every node
    if "house_simulator" in names:
        return topics | {"odom"}
    assert {"simulator", "policy", "executor", "overlay"} <= names
    topics |= {sink.topic for sink in spec.sinks} | {"joint_states", "executor_status"}
    topics |= {f"overlay/{slot}/image" for slot in drawn_slots(spec)}
    return topics | {"overlay/markers", "action_chunk", "scaffold"}


def rviz_topics(shown):
    for display in shown["Visualization Manager"]["Displays"]:
        for key in ("Topic", "Description Topic"):
            if key in display:
                yield display["Class"].split("/")[1], display[key]["Value"]


@robots
def test_files_are_as_the_tool_makes_them(robot):
    spec, remedy = load_robot(robot), "run python tools/make_views.py"
    assert (CONFIG / f"rviz/{robot}.rviz").read_text() == TOOL.make_rviz(spec), remedy
    assert (CONFIG / f"foxglove/{robot}.json").read_text() == TOOL.make_foxglove(spec), remedy


@robots
def test_rviz_shows_what_the_graph_publishes(robot):
    spec = load_robot(robot)
    shown = yaml.safe_load((CONFIG / f"rviz/{robot}.rviz").read_text())
    topics = list(rviz_topics(shown))
    assert {topic for _, topic in topics} <= published(robot)
    assert [kind for kind, _ in topics].count("Image") == len(spec.camera_slots)
    classes = [d["Class"] for d in shown["Visualization Manager"]["Displays"]]
    assert "rviz_default_plugins/TF" in classes and "rviz_default_plugins/RobotModel" in classes
    frame = shown["Visualization Manager"]["Global Options"]["Fixed Frame"]
    if spec.joints:
        assert f'name="{frame}"' in load_urdf(spec)
        assert ("MarkerArray", "overlay/markers") in topics
        assert any(topic.startswith("overlay/") and kind == "Image" for kind, topic in topics) == (
            bool(drawn_slots(spec))
        )
    else:
        assert frame == spec.base.odometry_frame


def test_rviz_for_any_robot_shows_topics_of_an_arm():
    shown = yaml.safe_load((CONFIG / "rviz/robot.rviz").read_text())
    assert {topic for _, topic in rviz_topics(shown)} <= published("franka")


def panels_of(layout):
    """Names of the panels in a layout's tree of splits."""
    if isinstance(layout, str):
        return [layout]
    assert set(layout) == {"first", "second", "direction", "splitPercentage"}
    assert layout["direction"] in ("row", "column") and 0 < layout["splitPercentage"] < 100
    return panels_of(layout["first"]) + panels_of(layout["second"])


def values_of(content):
    """Every topic and message path, wherever in a panel's settings."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from values_of(value)
            yield from (name for name in value if key == "topics")
        elif isinstance(value, list):
            yield from (path["value"] for path in value)
        elif key in ("imageTopic", "topicPath", "topicToRender", "topic", "jointStatesTopic"):
            yield value


@robots
def test_foxglove_shows_what_the_graph_publishes(robot):
    import dm0_ros.msg

    spec = load_robot(robot)
    layout = json.loads((CONFIG / f"foxglove/{robot}.json").read_text())
    panels = layout["configById"]
    assert sorted(panels_of(layout["layout"])) == sorted(panels), "each panel has one place"
    known = published(robot) | ({"joint_states"} if not spec.joints else set())
    shown = [path for settings in panels.values() for path in values_of(settings)]
    for path in shown:
        topic, _, field = path.removeprefix("/").partition(".")
        assert topic in known, path
        name = re.sub(r"\[\d+\]", "", field)
        if topic in FIELDS and name:
            message = getattr(dm0_ros.msg, FIELDS[topic])
            assert name in message.get_fields_and_field_types(), path
    kinds = {panel.split("!")[0] for panel in panels}
    assert {"Image", "3D", "Plot", "DiagnosticSummary"} <= kinds
    if spec.joints:
        assert {"RawMessages", "StateTransitions"} <= kinds and "/scaffold" in shown
        last = len(spec.column_names) - 1
        assert f"/joint_states.position[{last}]" in shown
        assert f"/joint_states.position[{last + 1}]" not in shown
