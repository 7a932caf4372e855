# SPDX-License-Identifier: Apache-2.0
"""Writes config/rviz/<robot>.rviz and config/foxglove/<robot>.json for every robot in config/.

Run it after a robot was added, or its cameras or sinks were changed: python tools/make_views.py
"""

import json
from pathlib import Path

from dm0_ros.nodes.overlay import drawn_slots
from dm0_ros.robots.description import find_root, load_urdf
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import RobotSpec, SinkKind

CONFIG = Path(__file__).resolve().parent.parent / "config"
NO_ROBOTS = {"checkpoints"}

RVIZ = """\
# {title}. Made by tools/make_views.py.
Panels:
  - {{Class: rviz_common/Displays, Name: Displays}}
  - {{Class: rviz_common/Views, Name: Views}}
Visualization Manager:
  Class: ""
  Global Options: {{Background Color: 60; 62; 66, Fixed Frame: {frame}, Frame Rate: 30}}
  Tools:
    - {{Class: rviz_default_plugins/Interact}}
    - {{Class: rviz_default_plugins/MoveCamera}}
    - {{Class: rviz_default_plugins/Measure}}
  Displays:
    - Class: rviz_default_plugins/Grid
      Name: Grid
      Enabled: true
      Cell Size: {cell}
      Plane Cell Count: 20
    - Class: rviz_default_plugins/RobotModel
      Name: Robot
      Enabled: true
      Description Source: Topic
      Description Topic: {{Value: robot_description, Depth: 1, History Policy: Keep Last, \
Reliability Policy: Reliable, Durability Policy: Transient Local}}
    - Class: rviz_default_plugins/TF
      Name: Frames
      Enabled: false
{displays}\
  Views:
    Current:
      Class: rviz_default_plugins/Orbit
      Name: Orbit
      Distance: {distance}
      Focal Point: {{X: 0.2, Y: 0, Z: 0.2}}
      Pitch: 0.5
      Yaw: 0.6
Window Geometry: {{Width: 1400, Height: 900}}
"""
DISPLAY = """\
    - Class: rviz_default_plugins/{kind}
      Name: {name}
      Enabled: true
      Topic: {{Value: {topic}, Depth: {depth}, History Policy: Keep Last, \
Reliability Policy: {reliability}, Durability Policy: Volatile}}
"""


def main() -> None:
    """Write the files of every robot."""
    for path in sorted(CONFIG.glob("*.yaml")):
        if path.stem in NO_ROBOTS:
            continue
        spec = load_robot(path.stem)
        for folder, suffix, text in (
            ("rviz", "rviz", make_rviz(spec)),
            ("foxglove", "json", make_foxglove(spec)),
        ):
            target = CONFIG / folder / f"{path.stem}.{suffix}"
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)


def frame_of(spec: RobotSpec) -> str:
    """The frame that stands still: an arm's root; of what only drives, that of its odometry."""
    return find_root(load_urdf(spec)) if spec.joints else spec.base.odometry_frame


def pictures_of(spec: RobotSpec) -> dict[str, str]:
    """Topic of each camera: the overlay's where it draws, the camera's own elsewhere."""
    drawn = drawn_slots(spec) if spec.joints else []
    topics = {slot: f"camera/{slot}/image_raw" for slot in spec.camera_slots}
    return topics | {slot: f"overlay/{slot}/image" for slot in drawn}


def make_rviz(spec: RobotSpec) -> str:
    """RViz: model, frames, markers or odometry, a picture of each camera."""
    if spec.joints:
        displays = [_display("MarkerArray", "Plan and scaffold", "overlay/markers", "Reliable")]
    else:
        displays = [_display("Odometry", "Odometry", "odom", "Best Effort")]
    for slot, topic in pictures_of(spec).items():
        name = slot.replace("_", " ").capitalize()
        displays.append(_display("Image", name, topic, "Best Effort"))
    wide = not spec.joints
    return RVIZ.format(
        title=spec.title,
        frame=frame_of(spec),
        cell=1.0 if wide else 0.1,
        distance=10.0 if wide else 2.0,
        displays="".join(displays),
    )


def _display(kind: str, name: str, topic: str, reliability: str) -> str:
    depth = 10 if reliability == "Reliable" else 5
    return DISPLAY.format(kind=kind, name=name, topic=topic, depth=depth, reliability=reliability)


def make_foxglove(spec: RobotSpec) -> str:
    """Foxglove: pictures at the left, space and scaffold in the middle, plots at the right."""
    panels = {
        f"Image!{slot}": {"imageMode": {"imageTopic": f"/{topic}"}}
        for slot, topic in pictures_of(spec).items()
    }
    pictures = list(panels)
    panels["3D!space"] = _make_space(spec)
    panels["DiagnosticSummary!health"] = {"topicToRender": "/diagnostics", "minLevel": 0}
    middle, plots = ["3D!space"], []
    if spec.joints:
        panels["RawMessages!scaffold"] = {"topicPath": "/scaffold"}
        panels["StateTransitions!executor"] = _plot("/executor_status.state")
        names = ("time_left", "observation_age", "seam")
        panels["Plot!executor"] = _plot(*(f"/executor_status.{name}" for name in names))
        stages = (f"/action_chunk.latency_ms[{stage}]" for stage in range(4))
        panels["Plot!latency"] = _plot(*stages)
        # By index: Foxglove cannot look names up in another list of the message.
        joints = range(len(spec.column_names))
        panels["Plot!measured"] = _plot(*(f"/joint_states.position[{n}]" for n in joints))
        panels["Plot!commanded"] = _plot(*_command_paths(spec))
        middle += ["RawMessages!scaffold", "StateTransitions!executor"]
        plots = ["Plot!measured", "Plot!commanded", "Plot!executor", "Plot!latency"]
    else:
        panels["Plot!speed"] = _plot("/odom.twist.twist.linear.x", "/odom.twist.twist.angular.z")
        plots = ["Plot!speed"]
    plots.append("DiagnosticSummary!health")
    columns = [_stack(column, "column") for column in (pictures, middle, plots)]
    layout = {
        "configById": panels,
        "globalVariables": {},
        "userNodes": {},
        "playbackConfig": {"speed": 1},
        "layout": _stack(columns, "row"),
    }
    return json.dumps(layout, indent=2) + "\n"


def _make_space(spec: RobotSpec) -> dict:
    urdf = {
        **{"layerId": "foxglove.Urdf", "instanceId": "robot", "label": spec.title},
        **{"sourceType": "topic", "topic": "/robot_description", "visible": True},
        **{"controlMode": "jointStates", "jointStatesTopic": "/joint_states", "order": 2},
    }
    grid = {"layerId": "foxglove.Grid", "instanceId": "grid", "label": "Grid", "visible": True}
    shown = "/overlay/markers" if spec.joints else "/odom"
    return {
        "followMode": "follow-none",
        "followTf": frame_of(spec),
        "layers": {"grid": {**grid, "size": 2, "divisions": 20, "order": 1}, "robot": urdf},
        "topics": {shown: {"visible": True}},
    }


def _command_paths(spec: RobotSpec) -> list[str]:
    return [
        f"/{sink.topic}.data[{number}]"
        for sink in spec.sinks
        if sink.kind is SinkKind.FORWARD_POSITION
        for number in range(len(sink.names))
    ]


def _plot(*paths: str) -> dict:
    values = [{"value": p, "enabled": True, "timestampMethod": "receiveTime"} for p in paths]
    return {"paths": values, "isSynced": True}


def _stack(parts: list, direction: str):
    """Panels, or stacks of them, beside each other, all of one size."""
    first, *rest = parts
    if not rest:
        return first
    share = round(100 / len(parts), 1)
    sides = {"first": first, "second": _stack(rest, direction)}
    return {**sides, "direction": direction, "splitPercentage": share}


if __name__ == "__main__":
    main()
