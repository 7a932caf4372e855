# SPDX-License-Identifier: Apache-2.0
"""Messages of a graph in, rerun's logs out. Live and from a bag alike.

Messages are whatever has the fields of their ROS type. Each is told at its own stamp, and one that
has none at the moment when it was received.
"""

import math
import re
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from dm0_ros.control.tool_path import ToolPaths
from dm0_ros.errors import PlanError
from dm0_ros.policy.protocol import Plan
from dm0_ros.policy.wire import read_plan
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.scaffold.relevance import Relevance
from dm0_ros.scaffold.sketch import Sketch
from dm0_ros.stamps import to_seconds
from dm0_ros.viewing.log import Log, Pace
from dm0_ros.viewing.plans import wanted_at
from dm0_ros.viewing.views import Views

# of plans: latency_ms of dm0_ros/msg/ActionChunk in its order, and their sum, with colours (RGB)
STAGES = {
    "preprocessing": (130, 130, 130),
    "prefix": (70, 130, 255),
    "reasoning": (190, 80, 230),
    "flow": (255, 150, 0),
    "total": (225, 60, 90),
}
# in the order of the constants of dm0_ros/msg/ExecutorStatus, with a colour each (RGB)
STATES = {
    "IDLE": (120, 120, 120),
    "APPROACH": (80, 140, 255),
    "EXECUTING": (0, 200, 100),
    "STARVED": (255, 200, 0),
    "HOLD": (255, 140, 0),
    "FAULT": (230, 40, 40),
}
SERIES = {"plan": (255, 190, 0), "command": (80, 160, 255), "measured": (225, 60, 90)}
_LEVELS = {"FAULT": "ERROR", "STARVED": "WARN"}
_PAUSE = 0.5  # s without values that a joint's line has a gap for
_JPEG_QUALITY = 85
_NUMBER = re.compile(r"\d+")


class Story:
    """Tells a recording what happens to one robot.

    ``rate`` limits joints, commands and pictures: so many a second of each at most.
    """

    def __init__(self, spec: RobotSpec, log: Log, rate: float) -> None:
        self._log, self._pace, self._tools = log, Pace(rate), ToolPaths(spec)
        self._views = Views(spec, self._tools.frame, log)
        self._openings = {g.name: g.opening_per_joint for g in spec.grippers}
        self._names = spec.column_names
        self._plan: Plan | None = None
        self._instruction = ""
        self._relevance = Relevance()
        self._sketched: float | None = None  # s: stamp of the scaffold that is shown
        self._cleared = -math.inf  # s: since when no words of older scaffolds are shown
        self._status: tuple[int, str, int] | None = None  # state, reason, epoch
        self._told: dict[str, float] = {}  # by line of a joint: moment of its last value
        self._pause = max(_PAUSE, 3.0 / rate)
        self._words = ("", "")  # state and reason that were written last
        self._describe()

    def _describe(self) -> None:
        """Colours and names, which hold for the whole recording."""
        rerun = self._log.rerun
        for name in self._names:
            for series, colour in SERIES.items():
                lines = rerun.SeriesLines(colors=[colour], names=[series], widths=[1.5])
                self._log.keep(f"joints/{name}/{series}", lines)
        for stage, colour in STAGES.items():
            lines = rerun.SeriesLines(colors=[colour], names=[stage], widths=[1.5])
            self._log.keep(f"latency/{stage}", lines)
        states = rerun.StateConfiguration(values=list(STATES), colors=list(STATES.values()))
        self._log.keep("executor/state", states)

    def take_joints(self, message, received: float) -> None:
        """A sensor_msgs/JointState: what is measured, and what the plan wants at that moment."""
        moment = _stamp(message, received)
        if not self._pace.is_due(("measured", *message.name), moment):
            return
        measured = dict(zip(message.name, message.position, strict=False))
        openings = {name: measured[name] * self._openings.get(name, 1.0) for name in measured}
        self._tell_joints("measured", moment, openings)
        wanted = {} if self._plan is None else wanted_at(self._plan, moment)
        self._tell_joints(
            "plan", moment, {name: wanted[name] for name in measured if name in wanted}
        )

    def take_positions(self, names: Sequence[str], message, received: float) -> None:
        """Commands of a forward_position sink: a std_msgs/Float64MultiArray."""
        if len(message.data) == len(names) and self._pace.is_due(("command", *names), received):
            self._tell_joints("command", received, dict(zip(names, message.data, strict=True)))

    def take_trajectory(self, message, received: float) -> None:
        """A trajectory_msgs/JointTrajectory: its first point is the command."""
        names = tuple(message.joint_names)
        if len(message.points) and self._pace.is_due(("command", *names), received):
            values = zip(names, message.points[0].positions, strict=False)
            self._tell_joints("command", received, dict(values))

    def take_plan(self, message, received: float) -> None:
        """A dm0_ros/ActionChunk: the time that it took, and the instruction that it answers."""
        moment = _stamp(message, received)
        try:
            plan = read_plan(message)
            paths = self._tools.find(plan)
        except PlanError as error:
            self._log.write(moment, f"not shown: {error}", "WARN")
            return
        self._plan = plan
        self._relevance.follow(message.instruction, plan.start)
        self._drop_scaffold(moment)
        self._views.follow(plan, paths)
        times = [float(part) for part in message.latency_ms]
        stages = zip(STAGES, [*times, sum(times)], strict=True)
        # A plan to stay where the robot is costs nothing, which says nothing of the network.
        for stage, part in stages if any(times) else ():
            self._log.tell_value(f"latency/{stage}", moment, part)
        if message.instruction != self._instruction:
            self._instruction = message.instruction
            self._log.write(moment, f"instruction: {message.instruction}")

    def take_status(self, message, received: float) -> None:
        """A dm0_ros/ExecutorStatus: state at its changes, plan left, observation's age, seam."""
        moment, before = _stamp(message, received), self._status
        self._status = (int(message.state), message.reason, int(message.epoch))
        if before is not None and message.epoch > before[2]:
            self._plan = None
            self._relevance.reset(moment)
            self._drop_scaffold(moment)
            self._views.forget_plan(moment)
        self._tell_state(message, moment, before)
        if self._pace.is_due("status", moment):
            for name in ("time_left", "observation_age", "seam"):
                self._log.tell_value(f"executor/{name}", moment, float(getattr(message, name)))

    def _tell_state(self, message, moment: float, before: tuple[int, str, int] | None) -> None:
        names = list(STATES)
        state = names[message.state] if message.state < len(names) else str(message.state)
        if before is None or before[0] != message.state:
            self._log.tell("executor/state", moment, self._log.rerun.StateChange(state=state))
        # "following plan 12" after "following plan 11" is no news.
        words = (state, _NUMBER.sub("", message.reason))
        if words != self._words:
            self._words = words
            line = f"{state}: {message.reason}" if message.reason else state
            self._log.write(moment, line, _LEVELS.get(state, "INFO"))

    def take_scaffold(self, message, received: float) -> None:
        """A dm0_ros/SpatialScaffold: its words, and on its view what it marks."""
        moment, rerun = _stamp(message, received), self._log.rerun
        sketch = Sketch.of(message)
        if not self._relevance.covers(moment):
            self._log.write(received, f"late, about what is over: {sketch.subtask}")
            return
        self._sketched = moment
        words = f"**refused**: {sketch.refusal}" if sketch.refusal else f"**{sketch.subtask}**"
        if message.text:
            words += f"\n\n```\n{message.text}\n```"
        document = rerun.TextDocument(words, media_type=rerun.MediaType.MARKDOWN)
        # Its picture may be from before what ended the words before it.
        self._log.tell("scaffold", max(moment, self._cleared), document)
        if sketch.refusal:
            self._log.write(moment, f"scaffold refused: {sketch.refusal}", "WARN")
        self._views.sketch(sketch, moment)

    def _drop_scaffold(self, moment: float) -> None:
        """Show no more of the newest one where it is about what is over."""
        if self._sketched is not None and not self._relevance.covers(self._sketched):
            self._sketched, self._cleared = None, moment
            self._views.forget_scaffold(moment)
            self._log.clear("scaffold", moment)

    def take_jpeg(self, slot: str, message, received: float) -> None:
        """A sensor_msgs/CompressedImage, passed on as it is."""
        moment = _stamp(message, received)
        if self._pace.is_due(slot, moment):
            self._views.show(slot, moment, bytes(message.data))

    def take_picture(self, slot: str, moment: float, picture: np.ndarray) -> None:
        """A picture (height, width, 3) uint8 RGB with the stamp of its message."""
        if self._pace.is_due(slot, moment):
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            self._views.show(slot, moment, data.tobytes())

    def _tell_joints(self, series: str, moment: float, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if name not in self._names:
                continue
            line = f"joints/{name}/{series}"
            last = self._told.get(line, moment)
            if moment - last > self._pause:
                self._log.tell_value(line, last + 1e-4, math.nan)
            self._log.tell_value(line, moment, float(value))
            self._told[line] = moment


def _stamp(message, received: float) -> float:
    """Seconds of a message's stamp; when it was received, where it has none."""
    return to_seconds(message.header.stamp) or received
