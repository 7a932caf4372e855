# SPDX-License-Identifier: Apache-2.0
"""The `navigator` node: drives a base to what an instruction names.

Plans come from a DM0 checkpoint that gives velocities, or as answers of another model on a topic;
they go to cmd_vel, or to Nav2 as goals.
"""

import math
import sys
import threading
from collections.abc import Callable
from functools import partial

import numpy as np
from nav_msgs.msg import Odometry, Path
from std_msgs.msg import String

from dm0_ros.errors import Dm0Error, InstructionError, ObservationError, RobotError
from dm0_ros.navigation.heads import HEADS, make_head
from dm0_ros.navigation.house import load_house
from dm0_ros.navigation.judge import Judge
from dm0_ros.navigation.metrics import Result
from dm0_ros.navigation.mission import Mission, MissionSettings, Sight
from dm0_ros.navigation.routes import Motion
from dm0_ros.navigation.senses import Senses
from dm0_ros.nodes.base_output import DirectOutput
from dm0_ros.nodes.bases import fix_from_odometry
from dm0_ros.nodes.diagnostics import PlanDiagnostics
from dm0_ros.nodes.goal_node import GoalNode
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.nav2_output import Nav2Output
from dm0_ros.nodes.navigation_goals import NavigationServer
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.pictures import find_camera_topic
from dm0_ros.nodes.quality import COMMAND, SENSOR
from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.policy.protocol import Observation, Policy
from dm0_ros.policy.verdict import Verdict
from dm0_ros.robots.layouts import Space
from dm0_ros.robots.loading import load_robot

_THREADS = 4  # sensors, action, feedback, services
_OWN_HEAD = "velocities"  # that of DM0 checkpoints in this process; the others answer on a topic


class NavigatorNode(GoalNode):
    """Parameters and messages around a `Mission`."""

    def __init__(self) -> None:
        super().__init__("navigator")
        self._declare_parameters()
        self._answer: Motion | None = None
        self._lock = threading.Lock()  # of the way driven
        self._place: np.ndarray | None = None
        self._travelled = 0.0
        self._truth: np.ndarray | None = None
        self._judge: Judge | None = None
        self._judging = False

    def _declare_parameters(self) -> None:
        fixed = partial(declare, self, read_only=True)
        fixed("robot", "mobile_base", "Robot: a name in config/, or a YAML")
        fixed("head", _OWN_HEAD, "What plans look like", choices=HEADS)
        fixed("checkpoint", "dm0-nano", "DM0 checkpoint of the head 'velocities'")
        fixed("device", "cpu", "Where the network works: cpu, cuda, cuda:1 ...")
        fixed("threads", 1, "CPU threads of the network", (1, 256))
        fixed("niceness", 5, "Priority that the network gives up to other work", (0, 19))
        fixed("seed", 0, "Seed of the network's noise", (0, 2**31 - 1))
        fixed("output", "cmd_vel", "Who drives", choices=("cmd_vel", "nav2"))
        fixed("house", "", "House in config/worlds/ that drives are judged in; simulation only")
        fixed("compressed", False, "Subscribe to JPEG pictures instead of raw ones")
        tuned = partial(declare, self)
        tuned("period", 1.0, "Least time between two plans (s)", (0.0, 60.0))
        tuned("time_limit", 120.0, "Of goals that set none (s)", (0.1, 86400.0))
        tuned("observation_timeout", 3.0, "How long sensors may be unusable (s)", (0.0, 600.0))
        tuned("votes", 3, "Plans in a row that have to say stop", (1, 100))
        tuned("attempts", 3, "Motions in a row that may fail", (1, 100))
        tuned("stop_distance", 0.25, "Plans of velocities that drive less (m)", (0.0, 10.0))
        tuned("stop_turn", 3.15, "and turn by less (rad) mean stop", (0.0, 6.3))

    def configure(self) -> None:
        """Load the policy, then open the topics."""
        self._robot = load_robot(self.value("robot"))
        if self._robot.base is None:
            raise RobotError(f"{self._robot.name}: has no base; the navigator drives one")
        self._own = self.value("head") == _OWN_HEAD
        self.employ()
        if self._own:
            self._policy = self._worker.submit(self._load).result()
            spec = self._policy.spec
            self._head = make_head(_OWN_HEAD, spec.step, spec.action_names)
        else:
            self._head = make_head(self.value("head"))
        if house := self.value("house"):
            self._judge = Judge(load_house(house))
        self._open_output()
        self._open_topics()
        server = NavigationServer(self, self)
        self.serve(server, PlanDiagnostics("navigator", self._robot.name))

    def _load(self) -> Policy:
        from dm0_ros.policy.registry import load_policy  # it imports torch, which takes seconds

        self.settle_in(self.value("threads"))
        policy = load_policy(
            self.value("checkpoint"),
            self._robot,
            device=self.value("device"),
            seed=self.value("seed"),
        )
        if policy.spec.space is not Space.BASE_TWIST:
            raise Dm0Error(
                f"{policy.spec.name} plans in {policy.spec.space.value}; a base needs base_twist: "
                "choose a checkpoint for navigation"
            )
        latency = policy.warm_up()
        self.get_logger().info(f"{policy.spec.name} is ready, {latency.total:.0f} ms a plan")
        return policy

    def _open_output(self) -> None:
        if self.value("output") == "nav2":
            self._output = Nav2Output(self, self._robot.base.odometry_frame)
        else:
            self._output = DirectOutput(self, self._robot)
        self._undo.append(self._output.close)

    def _open_topics(self) -> None:
        camera = self._robot.cameras[0] if self._own else None
        self._senses = Senses(
            self._robot.executor.state_timeout, camera.max_age if camera else None
        )
        self.subscribe(Odometry, "odom", self._take_odometry, SENSOR)
        if camera:
            kind, topic, decode = find_camera_topic(camera.slot, self.value("compressed"))
            self.subscribe(kind, topic, partial(self._take_picture, decode), SENSOR)
        elif self.value("head") == "waypoints":
            self.subscribe(Path, "answer", self._take_path, COMMAND)
        else:
            self.subscribe(String, "answer", lambda m: self._take_answer(m.data), COMMAND)
        if self._judge:
            self.subscribe(Odometry, "simulator/ground_truth", self._take_truth, SENSOR)

    def release(self) -> None:
        """See `GoalNode`."""
        super().release()
        self._judge = None

    def _take_odometry(self, message: Odometry) -> None:
        try:
            fix = fix_from_odometry(message)
        except ObservationError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        self._senses.add_fix(fix)
        self._output.note(fix)
        with self._lock:
            if self._place is not None:
                self._travelled += float(np.linalg.norm(fix.pose[:2] - self._place))
            self._place = fix.pose[:2]

    def _take_picture(self, decode: Callable, message) -> None:
        stamp = to_seconds(message.header.stamp)
        self._senses.add_picture(stamp, partial(decode, message))

    def _take_answer(self, text: str) -> None:
        self._answer = self._head.read(text)

    def _take_path(self, message: Path) -> None:
        if message.header.frame_id not in ("", self._robot.base.frame):
            self.get_logger().error(
                f"answer: waypoints must be in {self._robot.base.frame}, not "
                f"{message.header.frame_id}",
                throttle_duration_sec=5.0,
            )
            return
        poses = [
            (p.pose.position.x, p.pose.position.y, 2 * math.atan2(o.z, o.w))
            for p in message.poses
            for o in [p.pose.orientation]
        ]
        try:
            self._answer = self._head.read(np.array(poses).reshape(-1, 3))
        except Dm0Error as error:
            self.get_logger().error(f"answer: {error}")

    def _take_truth(self, message: Odometry) -> None:
        self._truth = fix_from_odometry(message).pose
        with self._lock:
            if self._judging:
                self._judge.note(self._truth)

    def make_mission(self, instruction: str, time_limit: float) -> Mission:
        """See `Host`."""
        if self._policy:
            self._policy.check_instruction(instruction)
        if not instruction.strip():
            raise InstructionError("the instruction is empty; say what to find")
        names = ("period", "observation_timeout", "votes", "attempts")
        names += ("stop_distance", "stop_turn")
        settings = MissionSettings(
            time_limit=time_limit or self.value("time_limit"),
            **{name: self.value(name) for name in names},
        )
        self._answer = None
        with self._lock:
            self._travelled = 0.0
            known = self._judge is not None and self._truth is not None
            self._judging = known and self._judge.begin(instruction, self._truth)
        timing = self.choose_stopwatch()
        return Mission(instruction, self._look, self._think, self._output, settings, timing)

    def run(self, mission: Mission) -> Verdict:
        """See `Host`."""
        if self._policy:
            self._worker.submit(self._policy.reset).result()
        return super().run(mission)

    def travelled(self) -> float:
        """See `Host`."""
        return self._travelled

    def motion(self) -> tuple[str, str]:
        """See `Host`."""
        state, reason = self._output.status()
        return state.value, reason

    def judge(self, stopped: bool) -> Result | None:
        """See `Host`."""
        with self._lock:
            if not self._judging:
                return None
            self._judging = False
            return self._judge.result(stopped)

    def _look(self) -> Sight:
        return self._senses.look(self.now())

    def _think(self, sight: Sight, instruction: str) -> Motion | None:
        if not self._policy:
            answer, self._answer = self._answer, None
            return answer
        spec = self._policy.spec
        plan = self._policy.infer(
            Observation(
                pictures={spec.camera_slots[0]: sight.picture},
                state=np.zeros(len(spec.state_names)),
                instruction=instruction,
                stamp=sight.fix.stamp,
            )
        )
        self._diagnostics.add(plan)
        return self._head.read(plan.values)

    def ages(self) -> dict[str, float]:
        """See `GoalNode`."""
        return self._senses.ages(self.now())

    def complaint(self) -> str:
        """See `GoalNode`."""
        return self._senses.complaint(self.now())

    def state(self) -> str:
        """See `GoalNode`."""
        state, reason = self.motion()
        return f"{super().state()}; the base is {state}" + (f": {reason}" if reason else "")


def main() -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run_node(NavigatorNode, threads=_THREADS)


if __name__ == "__main__":
    sys.exit(main())
