# SPDX-License-Identifier: Apache-2.0
"""What each kind of sink makes of set-points, as a controller gets it."""

import importlib.util

import numpy as np
import pinocchio
import pytest
from action_msgs.msg import GoalStatus
from cell import (
    ARM_SINK,
    GRIPPER_SINK,
    HOME,
    LIMITS,
    NAMES,
    OPENING,
    PERIOD,
    ROBOT,
    Cell,
    check_path,
    make_sink,
    move,
    write_robot,
)
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from rclpy.action import ActionServer, GoalResponse
from trajectory_msgs.msg import JointTrajectory

from dm0_ros.msg import ExecutorStatus
from dm0_ros.nodes.quality import COMMAND
from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.robots.kinematics import Chain, load_urdf

ARM_NAMES, GRIPPER_NAME = NAMES[:7], NAMES[7]
TRAJECTORY = "joint_trajectory_controller/joint_trajectory"
HAS_ACTIONS = importlib.util.find_spec("control_msgs") is not None
needs_actions = pytest.mark.skipif(not HAS_ACTIONS, reason="control_msgs is not installed")
ARM_ACTION = make_sink("follow_joint_trajectory", "arm/follow_joint_trajectory", ARM_NAMES)


@pytest.fixture(scope="module")
def chain():
    arm = ROBOT.end_effectors[0]
    return Chain(load_urdf(ROBOT), arm.base, arm.tip)


def check_window(window):
    """One that a joint_trajectory_controller takes, within the limits at every point."""
    assert window.joint_names == list(ARM_NAMES)
    times = [to_seconds(point.time_from_start) for point in window.points]
    assert len(times) > 1 and np.all(np.diff(times) > 0) and times[0] > 0
    for values, limit in (
        ([point.velocities for point in window.points], LIMITS.velocity[:7]),
        ([point.accelerations for point in window.points], LIMITS.acceleration[:7]),
    ):
        assert np.shape(values) == (len(times), 7)
        assert (np.abs(values) <= limit + 1e-6).all()
    positions = np.array([point.positions for point in window.points])
    assert (positions >= LIMITS.lower[:7]).all() and (positions <= LIMITS.upper[:7]).all()
    assert not any(window.points[-1].velocities)


def stamps(windows):
    return np.array([to_seconds(window.header.stamp) for window in windows])


def test_trajectory_windows_for_a_trajectory_controller(graph, tmp_path):
    sink = make_sink("joint_trajectory", TRAJECTORY, ARM_NAMES)
    windows = graph.collect(JointTrajectory, TRAJECTORY, COMMAND)
    cell = Cell(graph, robot=write_robot(tmp_path, sinks=[sink, GRIPPER_SINK]))
    cell.plan(move(rows=40))
    cell.wait_state(ExecutorStatus.EXECUTING)
    graph.wait(lambda: len(windows) > 8, "windows")
    for window in windows:
        check_window(window)
    assert np.all(np.diff(stamps(windows)) > 0)
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
    # The controller hears of a stop before the arm has gone on by a window.
    before = len(windows)
    cell.call("stop")
    graph.wait(lambda: cell.status[-1].state == ExecutorStatus.HOLD, "the stop")
    stopped = to_seconds(cell.status[-1].header.stamp)
    graph.wait(lambda: stamps(windows)[-1] > stopped + 0.5, "windows of a held arm")
    for window in list(windows)[before:]:
        check_window(window)
    assert not np.any([point.velocities for point in windows[-1].points])
    assert np.diff(stamps(windows)).min() > 0.015  # never at every tick


def test_poses_and_twists_of_the_end_effector(graph, tmp_path, chain):
    sinks = [
        ARM_SINK,
        GRIPPER_SINK,
        make_sink("pose", "target_pose", ["arm"]),
        make_sink("twist", "arm_twist", ["arm"]),
        make_sink("twist_stamped", "servo/delta_twist_cmds", ["arm"]),
    ]
    poses = graph.collect(PoseStamped, "target_pose", COMMAND)
    bare = graph.collect(Twist, "arm_twist", COMMAND)
    twists = graph.collect(TwistStamped, "servo/delta_twist_cmds", COMMAND)
    cell = Cell(graph, robot=write_robot(tmp_path, sinks=sinks))
    cell.plan(move(0.3, column=1, rows=10))
    cell.wait_state(ExecutorStatus.HOLD)
    cell.wait_commands(10)
    assert {m.header.frame_id for m in [*poses, *twists]} == {"fr3_link0"}

    path = np.array([[m.pose.position.x, m.pose.position.y, m.pose.position.z] for m in poses])
    np.testing.assert_allclose(path[0], chain.pose_at(HOME[:7])[:3, 3], atol=1e-3)
    end = chain.pose_at(move(0.3, column=1)[-1, :7])
    np.testing.assert_allclose(path[-1], end[:3, 3], atol=1e-6)
    turn = poses[-1].pose.orientation
    rotation = pinocchio.Quaternion(turn.w, turn.x, turn.y, turn.z).toRotationMatrix()
    np.testing.assert_allclose(rotation, end[:3, :3], atol=1e-6)

    velocity = np.array([[m.twist.linear.x, m.twist.linear.y, m.twist.linear.z] for m in twists])
    np.testing.assert_allclose(velocity.sum(axis=0) * PERIOD, path[-1] - path[0], atol=0.02)
    assert np.linalg.norm(velocity, axis=1).max() > 0.1
    turning = np.array([[m.angular.x, m.angular.y, m.angular.z] for m in bare])
    assert np.abs(turning).max() > 0.1

    # A velocity would go on: when nothing is commanded any more, zero is the last word.
    cell.plan(move(-0.3, column=1, rows=10) + 0.3 * np.eye(8)[1])
    cell.wait_state(ExecutorStatus.EXECUTING)
    cell.wait_commands(20)
    cell.call("reset")
    cell.wait_state(ExecutorStatus.IDLE)
    graph.spin(0.2)
    count = len(twists), len(bare)
    graph.spin(0.2)
    assert count == (len(twists), len(bare))
    assert twists[-1].twist == bare[-1] == Twist()
    check_path(cell.path)


class Server:
    """An action server of the test's process: goals go on until they are told to end."""

    def __init__(self, graph, kind, name):
        self.goals, self.accepts = [], True
        self._kind = kind
        self._current = None
        self._server = ActionServer(
            graph.node,
            kind,
            name,
            execute_callback=self._end,
            goal_callback=self._judge,
            handle_accepted_callback=self._take,
        )

    def _judge(self, goal):
        return GoalResponse.ACCEPT if self.accepts else GoalResponse.REJECT

    def _take(self, handle):
        self.end_goal()
        self.goals.append(handle.request)
        self._current = handle

    def end_goal(self, **result):
        """Abort the current goal, as controllers do when a newer one takes its place."""
        handle, self._current = self._current, None
        if handle:
            self._result = self._kind.Result(**result)
            handle.execute()

    def _end(self, handle):
        handle.abort()
        assert handle.status == GoalStatus.STATUS_ABORTED
        return self._result

    def close(self):
        self._server.destroy()


@needs_actions
def test_a_trajectory_controller_that_is_driven_by_its_action(graph, tmp_path):
    from control_msgs.action import FollowJointTrajectory

    cell = Cell(graph, robot=write_robot(tmp_path, sinks=[ARM_ACTION, GRIPPER_SINK]))
    cell.plan(move())
    cell.wait_dropped("no action server arm/follow_joint_trajectory")
    assert cell.status[-1].state == ExecutorStatus.IDLE
    cell.wait_report(DiagnosticStatus.ERROR, "no action server arm/follow_joint_trajectory")

    server = Server(graph, FollowJointTrajectory, ARM_ACTION["topic"])
    cell.reports.clear()
    cell.wait_report(DiagnosticStatus.OK, "IDLE")
    cell.plan(move(rows=50))
    cell.wait_state(ExecutorStatus.EXECUTING)
    graph.wait(lambda: len(server.goals) > 8, "goals")
    for goal in server.goals:
        check_window(goal.trajectory)
    assert (
        cell.status[-1].state == ExecutorStatus.EXECUTING
    )  # goals that are replaced are no fault

    graph.wait(lambda: server._current, "a goal under way")
    server.end_goal(error_code=-4, error_string="joint 3 does not follow")
    cell.wait_state(ExecutorStatus.FAULT)
    assert "gave up: joint 3 does not follow" in cell.status[-1].reason
    graph.spin(0.3)
    count = len(server.goals)
    graph.spin(0.5)
    assert len(server.goals) == count  # it would leap to the held set-point

    cell.call("reset")
    cell.wait_state(ExecutorStatus.IDLE)
    cell.plan(move(rows=50))
    graph.wait(lambda: len(server.goals) > count + 3, "goals after the reset")
    server.accepts = False
    cell.wait_state(ExecutorStatus.FAULT)
    assert "refuses a goal" in cell.status[-1].reason

    cell.call("reset")
    cell.wait_state(ExecutorStatus.IDLE)
    server.accepts = True
    count = len(server.goals)
    cell.plan(move(rows=50))
    graph.wait(lambda: len(server.goals) > count + 3, "goals after the second reset")
    server.close()
    cell.wait_state(ExecutorStatus.FAULT)
    assert "no action server" in cell.status[-1].reason


@needs_actions
@pytest.mark.parametrize("kind", ["gripper_command", "parallel_gripper_command"])
def test_grippers_that_are_driven_by_an_action(graph, tmp_path, kind):
    from control_msgs import action

    sink = make_sink(kind, "gripper/gripper_cmd", [GRIPPER_NAME], threshold=0.01, effort=30.0)
    cell = Cell(graph, robot=write_robot(tmp_path, sinks=[ARM_SINK, sink]))
    opening = np.linspace(0.02, 0.08, 20)
    values = move(rows=20)
    values[:, 7] = opening
    cell.plan(values)
    cell.wait_commands(20)  # without a gripper the arm goes on, and that is reported
    cell.wait_report(DiagnosticStatus.WARN, "no action server gripper/gripper_cmd")

    name = {"gripper_command": "GripperCommand"}.get(kind, "ParallelGripperCommand")
    server = Server(graph, getattr(action, name), "gripper/gripper_cmd")
    cell.wait_state(ExecutorStatus.HOLD)
    commands = [goal.command for goal in server.goals]
    graph.wait(lambda: server.goals, "a goal")
    cell.wait_commands(150)
    commands = [goal.command for goal in server.goals]
    if kind == "gripper_command":
        positions = [command.position for command in commands]
        assert commands[-1].max_effort == 30.0
    else:
        positions = [command.position[0] for command in commands]
        assert list(commands[-1].name) == [GRIPPER_NAME] and list(commands[-1].effort) == [30.0]
    assert positions[-1] == pytest.approx(0.08 / OPENING, abs=1e-4)
    assert len(positions) <= 12  # of two hundred ticks
    check_path(cell.path)

    count = len(server.goals)
    wobble = np.tile(cell.joints, (10, 1))
    wobble[:, 7] = 0.08 - 0.004 * (np.arange(10) % 2)
    cell.plan(wobble)
    cell.wait_state(ExecutorStatus.EXECUTING)
    cell.wait_state(ExecutorStatus.HOLD)
    assert len(server.goals) <= count + 2  # at rest it goes to where it was told, no more


@pytest.mark.skipif(HAS_ACTIONS, reason="control_msgs is installed")
def test_an_interface_that_is_missing_is_named_at_configure(graph, tmp_path):
    robot = write_robot(tmp_path, sinks=[ARM_ACTION, GRIPPER_SINK])
    process = graph.start("executor", f"robot:={robot}", "autostart:=true")
    assert process.wait() == 1
    assert "follow_joint_trajectory needs control_msgs/action/FollowJointT" in process.output
    assert "install ros-jazzy-control-msgs" in process.output
    assert "Traceback" not in process.output
