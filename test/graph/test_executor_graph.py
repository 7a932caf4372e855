# SPDX-License-Identifier: Apache-2.0
"""The executor node, from outside: its process, its topics, its services, its manners."""

import math
import signal
import time

import numpy as np
import pytest
import yaml
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dm0_ros.control import Limits
from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import to_duration, to_seconds, to_time
from dm0_ros.resources import find_resource
from dm0_ros.robots import load_robot

ROBOT = load_robot("franka")
NAMES = ROBOT.column_names
ARM, GRIPPER = ROBOT.sinks
LIMITS = Limits.from_robot(ROBOT)
HOME = np.array([ROBOT.home[name] for name in NAMES])
OPENING = ROBOT.grippers[0].opening_per_joint
PERIOD = 1 / ROBOT.executor.rate
# Judging continuity takes every command, also after this process was kept waiting.
EVERY_COMMAND = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)


class Cell:
    """A robot that is where it was told to be, and a policy that sends what a test says."""

    def __init__(self, graph, *parameters, names=NAMES, robot="franka"):
        self.graph = graph
        self.names = list(names)
        self.joints = HOME.copy()
        self.sequence = 0
        self.follow = True
        self.commands = []  # (time of arrival, positions of the arm)
        node = graph.node
        self.process = graph.start("executor", f"robot:={robot}", "autostart:=true", *parameters)
        self.status = graph.collect(ExecutorStatus, "executor_status", STATUS)
        self.openings = graph.collect(Float64MultiArray, GRIPPER.topic, COMMAND)
        node.create_subscription(Float64MultiArray, ARM.topic, self._obey, EVERY_COMMAND)
        self.states = node.create_publisher(JointState, "joint_states", SENSOR)
        self.timer = node.create_timer(0.02, self.tell_joints)
        self.plans = graph.publisher(ActionChunk, "action_chunk", COMMAND)
        ready = "no plan yet" if set(names) == set(NAMES) else "no plan yet; joint_states lacks"
        graph.wait(
            lambda: self.status and self.status[-1].reason.split(" fr3")[0] == ready,
            "joint states to arrive",
        )
        assert self.status[-1].state == ExecutorStatus.IDLE

    def _obey(self, message):
        self.commands.append((time.monotonic(), np.array(message.data)))
        if self.follow:
            self.joints[:7] = message.data

    @property
    def path(self):
        return np.array([positions for _, positions in self.commands])

    def tell_joints(self, **changes):
        reported = self.joints / np.where(np.array(NAMES) == NAMES[7], OPENING, 1.0)
        values = dict(zip(NAMES, reported, strict=True)) | changes
        message = JointState(name=self.names)
        message.position = [float(values[name]) for name in self.names]
        message.header.stamp = to_time(self.now())
        self.states.publish(message)

    def now(self):
        return self.graph.node.get_clock().now().nanoseconds / 1e9

    def plan(self, values, names=NAMES, step=0.1, delay=0.0, **changes):
        self.sequence += 1
        values = np.asarray(values, dtype=float)
        fields = {
            "start": to_time(self.now() + delay),
            "step": to_duration(step),
            "sequence": self.sequence,
            "epoch": self.status[-1].epoch,
            "names": list(names),
            "rows": len(values),
            "values": values.ravel().tolist(),
        }
        self.plans.publish(ActionChunk(**(fields | changes)))

    def wait_state(self, state, what=""):
        self.graph.wait(
            lambda: self.status and self.status[-1].state == state, what or f"state {state}"
        )

    def wait_dropped(self, words, count=1):
        self.graph.wait(lambda: self.status[-1].dropped >= count, "a plan to be dropped")
        assert words in self.status[-1].reason

    def wait_commands(self, count):
        wanted = len(self.commands) + count
        self.graph.wait(lambda: len(self.commands) >= wanted, f"{wanted} commands")

    def call(self, name):
        return self.graph.call(Trigger, f"executor/{name}")


def move(distance=0.3, rows=20, column=0):
    ramp = (1 - np.cos(np.linspace(0, np.pi, rows))) / 2
    return HOME + distance * ramp[:, None] * np.eye(8)[column]


def check_path(path):
    """Finite, and every step within the limits of one period, even where ticks were missed."""
    assert np.isfinite(path).all()
    speed = np.diff(path, axis=0) / PERIOD
    assert (np.abs(speed) <= 1.01 * LIMITS.velocity[:7]).all()
    assert (np.abs(np.diff(speed, axis=0)) <= 1.1 * LIMITS.acceleration[:7] * PERIOD).all()


def test_a_plan_becomes_smooth_commands_and_starvation_holds(graph):
    cell = Cell(graph)
    assert not cell.commands
    cell.plan(move())
    cell.wait_state(ExecutorStatus.EXECUTING)
    assert cell.status[-1].sequence == 1
    cell.wait_state(ExecutorStatus.HOLD)
    states = [message.state for message in cell.status]
    assert ExecutorStatus.STARVED in states
    assert "plan 1 ran out" in cell.status[-1].reason
    cell.wait_commands(50)
    path = cell.path
    check_path(path)
    np.testing.assert_allclose(path[0], HOME[:7], atol=1e-3)
    np.testing.assert_allclose(path[-1], move()[-1, :7], atol=1e-6)
    np.testing.assert_array_equal(path[-20:], np.tile(path[-1], (20, 1)))
    assert cell.openings[-1].data[0] == pytest.approx(HOME[7])
    # Two seconds of plan, a few dozen commands of holding.
    assert len(path) > 150
    assert not math.isnan(cell.status[-1].period_p99)


def test_plans_one_after_another_are_one_motion(graph):
    cell = Cell(graph)
    for index in range(6):
        target = cell.joints + 0.04 * np.eye(8)[index % 3]
        ramp = np.linspace(0, 1, 10)[:, None]
        cell.plan(target + ramp * 0.2 * np.eye(8)[0])
        graph.wait(lambda count=index + 1: cell.status[-1].sequence == count, "the plan in use")
        cell.wait_commands(30)
        assert cell.status[-1].seam < 0.35
    assert all(m.state == ExecutorStatus.EXECUTING for m in list(cell.status)[-20:])
    check_path(cell.path)


def test_stop_and_reset(graph):
    cell = Cell(graph)
    cell.plan(move(0.3, rows=50))
    cell.wait_commands(100)
    answer = cell.call("stop")
    assert answer.success and "HOLD" in answer.message
    cell.wait_state(ExecutorStatus.HOLD)
    assert cell.status[-1].reason == "stopped by ~/stop"
    cell.wait_commands(60)
    stopped = cell.path[-1]
    old = cell.status[-1].epoch
    cell.plan(move())
    cell.wait_dropped("reset first")
    cell.wait_commands(50)
    np.testing.assert_array_equal(cell.path[-1], stopped)
    check_path(cell.path)

    assert cell.call("reset").success
    graph.wait(lambda: cell.status[-1].epoch == old + 1, "the next epoch")
    assert cell.status[-1].state == ExecutorStatus.IDLE
    graph.spin(0.2)
    count = len(cell.commands)
    graph.spin(0.3)
    assert len(cell.commands) == count
    here = np.tile(cell.joints, (20, 1))
    cell.plan(here, epoch=old)
    cell.wait_dropped(f"the epoch is {old + 1}", count=2)
    assert len(cell.commands) == count
    cell.plan(here)
    cell.wait_state(ExecutorStatus.EXECUTING)


def test_bad_plans_are_refused_by_name_and_move_nothing(graph):
    cell = Cell(graph)
    broken = move()
    broken[7, 3] = math.nan
    far = move() + 0.4 * np.eye(8)[1]
    trials = [
        ({"values": broken}, "fr3_joint4 is nan in row 7"),
        ({"values": far}, "fr3_joint2"),
        ({"values": move() + 1e9}, "far outside its range"),
        ({"values": move(), "names": ("elbow", *NAMES[1:])}, "unknown column elbow"),
        ({"values": move()[:, 1:], "names": NAMES[1:]}, "lacks fr3_joint1"),
        ({"values": move(), "rows": 7}, "160 values for 7 rows of 8 columns"),
        ({"values": move(), "space": 9}, "there is no space 9"),
        ({"values": move(), "space": ActionChunk.BASE_TWIST}, "base_twist"),
        ({"values": move(), "step": 0.0}, "step"),
        ({"values": move(), "delay": -60.0}, "came too late"),
        ({"values": move(), "delay": 60.0}, "clocks"),
        ({"values": move(), "epoch": 4}, "the epoch is 0"),
    ]
    for count, (plan, words) in enumerate(trials, 1):
        cell.plan(**plan)
        cell.wait_dropped(words, count)
        assert cell.status[-1].state == ExecutorStatus.IDLE
    assert not cell.commands
    assert cell.process.running()


def test_joints_and_columns_in_any_order(graph):
    order = np.random.default_rng(3).permutation(8)
    cell = Cell(graph, names=[NAMES[index] for index in order])
    back = order[::-1]
    cell.plan(move()[:, back], names=[NAMES[index] for index in back])
    cell.wait_state(ExecutorStatus.HOLD)
    cell.wait_commands(5)
    check_path(cell.path)
    np.testing.assert_allclose(cell.path[-1], move()[-1, :7], atol=1e-6)


def test_a_joint_that_is_missing_is_named(graph):
    cell = Cell(graph, names=[name for name in NAMES if name != "fr3_joint6"])
    cell.plan(move())
    cell.wait_dropped("joint_states lacks fr3_joint6")
    assert not cell.commands


def test_joint_states_that_stop_are_a_fault_until_reset(graph):
    cell = Cell(graph)
    cell.plan(move(rows=50))
    cell.wait_commands(60)
    cell.timer.cancel()
    cell.wait_state(ExecutorStatus.FAULT)
    assert "fr3_joint1 is 0." in cell.status[-1].reason
    cell.wait_commands(50)
    np.testing.assert_array_equal(cell.path[-1], cell.path[-10])
    check_path(cell.path)
    cell.timer.reset()
    cell.plan(move())
    cell.wait_dropped("reset first")
    cell.call("reset")
    cell.wait_state(ExecutorStatus.IDLE)


def test_a_joint_that_is_nan_is_a_fault_by_name(graph):
    cell = Cell(graph)
    cell.plan(move(rows=50))
    cell.wait_commands(60)
    cell.tell_joints(fr3_joint3=math.nan)
    cell.wait_state(ExecutorStatus.FAULT)
    assert cell.status[-1].reason == "joint_states says nan for fr3_joint3"


def test_a_robot_that_cannot_be_read_fails_with_a_sentence(graph, tmp_path):
    content = yaml.safe_load(find_resource("config", "franka.yaml").read_text())
    del content["executor"]["rate"]
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(content))
    process = graph.start("executor", f"robot:={path}", "autostart:=true")
    assert process.wait() == 1
    assert "cannot configure: broken.yaml.executor: missing key rate" in process.output
    assert "Traceback" not in process.output

    process = graph.start("executor", "seam:=glue", "autostart:=true")
    assert process.wait() == 1
    assert "'glue' is not one of blend, replace" in process.output


def test_parameters_overrule_the_robot(graph):
    cell = Cell(graph, "max_first_distance:=0.05", "rate:=50.0", "seam:=replace")
    cell.plan(move() + 0.1)
    cell.wait_dropped("(max_first_distance) is 0.050 rad")
    cell.plan(move())
    cell.wait_state(ExecutorStatus.HOLD)
    # Two seconds of motion at 50 Hz; at the robot's own 100 Hz there would be twice as many.
    assert len(np.unique(cell.path, axis=0)) < 130
    process = graph.start("executor", "rate:=0.0", "autostart:=true")
    assert process.wait() == 1
    assert "executor.rate must be positive" in process.output


def test_lifecycle_by_hand(graph):
    process = graph.start("executor", "robot:=no_such_robot")

    def change(transition):
        request = ChangeState.Request()
        request.transition.id = transition
        return graph.call(ChangeState, "executor/change_state", request).success

    def state():
        return graph.call(GetState, "executor/get_state").current_state.label

    assert not change(3)  # activate before configure: rclpy alone would die of it
    assert not change(1)
    assert state() == "unconfigured"
    graph.wait(lambda: "no_such_robot" in process.output, "the sentence")
    assert process.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly_in_motion_and_at_rest(graph, number):
    cell = Cell(graph)
    cell.plan(move(rows=50))
    cell.wait_commands(60)
    assert cell.process.end(number) == 0
    assert "Traceback" not in cell.process.output
    graph.spin(0.3)
    check_path(cell.path)
    step = np.abs(cell.path[-1] - cell.path[-2])
    assert (step <= LIMITS.acceleration[:7] * PERIOD**2 + 1e-9).all()  # it came to rest first


def test_trajectory_windows_for_a_trajectory_controller(graph, tmp_path):
    content = yaml.safe_load(find_resource("config", "franka.yaml").read_text())
    topic = "joint_trajectory_controller/joint_trajectory"
    content["sinks"][0] = {"kind": "joint_trajectory", "topic": topic, "names": list(NAMES[:7])}
    path = tmp_path / "windows.yaml"
    path.write_text(yaml.safe_dump(content))
    windows = graph.collect(JointTrajectory, topic, COMMAND)
    cell = Cell(graph, robot=path)
    cell.plan(move())
    cell.wait_state(ExecutorStatus.EXECUTING)
    graph.wait(lambda: len(windows) > 8, "windows")
    start = to_seconds(windows[0].header.stamp)
    for window in windows:
        assert window.joint_names == list(NAMES[:7])
        times = [to_seconds(point.time_from_start) for point in window.points]
        assert np.all(np.diff(times) > 0) and times[0] > 0
        assert all(len(p.positions) == len(p.velocities) == 7 for p in window.points)
        assert all(len(p.accelerations) == 7 for p in window.points)
        assert not any(window.points[-1].velocities)
        assert to_seconds(window.header.stamp) >= start
    # Successive windows agree on where the arm will be.
    early, late = windows[5], windows[6]
    shift = to_seconds(late.header.stamp) - to_seconds(early.header.stamp)
    times = [to_seconds(point.time_from_start) for point in early.points]
    foreseen = np.interp(
        shift + to_seconds(late.points[0].time_from_start),
        times,
        [point.positions[0] for point in early.points],
    )
    assert foreseen == pytest.approx(late.points[0].positions[0], abs=2e-3)


def test_simulated_time_that_steps_back_holds(graph):
    clock = graph.node.create_publisher(Clock, "/clock", SENSOR)
    seconds = [1000.0]

    def advance():
        seconds[0] += 0.01
        clock.publish(Clock(clock=to_time(seconds[0])))

    graph.node.create_timer(0.01, advance)
    cell = Cell(graph, "use_sim_time:=true")
    cell.now = lambda: seconds[0]
    graph.wait(lambda: to_seconds(cell.status[-1].header.stamp) < 1e6, "simulated time")
    cell.plan(move(rows=50))
    cell.wait_commands(60)
    assert to_seconds(cell.status[-1].header.stamp) == pytest.approx(seconds[0], abs=1.0)
    seconds[0] -= 500
    cell.wait_state(ExecutorStatus.HOLD)
    assert "the clock stepped back by 4" in cell.status[-1].reason
    # Simulated time may have passed in steps that are four periods long.
    assert (np.abs(np.diff(cell.path, axis=0)) <= 4.04 * LIMITS.velocity[:7] * PERIOD).all()
