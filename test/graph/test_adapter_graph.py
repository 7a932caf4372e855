# SPDX-License-Identifier: Apache-2.0
"""The adapter between the executor's topics and drivers of other messages, over DDS."""

import importlib.util

import pytest
from rclpy.action import ActionServer, GoalResponse
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from dm0_ros.nodes.quality import COMMAND, SENSOR
from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.robots import load_robot

ARM, GRIPPER = "forward_position_controller/commands", "gripper_controller/commands"
NAMES = [*(f"joint{index}" for index in range(1, 7)), "gripper"]


def has(package):
    return importlib.util.find_spec(package) is not None


def needs(package):
    return pytest.mark.skipif(not has(package), reason=f"{package} is not installed")


class Commander:
    """Where the executor would be: says the same again and again, on one topic after the other."""

    def __init__(self, graph, robot):
        self.graph, self.spec = graph, load_robot(robot)
        self.process = graph.start("adapter", f"robot:={robot}")
        self.arm = graph.publisher(Float64MultiArray, ARM, COMMAND)
        self.gripper = graph.publisher(Float64MultiArray, GRIPPER, COMMAND)
        self.states = graph.collect(JointState, "joint_states", SENSOR)
        self.wanted = []
        graph.node.create_timer(0.05, self._say)

    def command(self, arm, gripper):
        self.wanted = [(self.arm, arm), (self.gripper, gripper)]

    def _say(self):
        for publisher, values in self.wanted:
            publisher.publish(Float64MultiArray(data=list(map(float, values))))


def test_two_pipers_are_one_robot(graph):
    commander = Commander(graph, "wiring/aloha_piper")
    told = {
        side: graph.collect(JointState, f"{side}/joint_ctrl_single", COMMAND)
        for side in ("left", "right")
    }
    report = graph.publisher(JointState, "right/joint_states_single", COMMAND)
    commander.command(range(12), [0.03, 0.05])
    graph.wait(lambda: told["left"] and told["right"], "commands for both arms")
    for side, first, opening in (("left", 0, 0.03), ("right", 6, 0.05)):
        message = told[side][-1]
        assert list(message.name) == NAMES
        assert list(message.position) == [*map(float, range(first, first + 6)), opening]
    stale = JointState(name=NAMES, position=[0.1] * 6 + [0.04])
    report.publish(stale)
    graph.wait(lambda: commander.states, "the arm's joints under our names")
    state = commander.states[-1]
    assert list(state.name) == [*(f"right_{name}" for name in NAMES[:6]), "right_gripper"]
    # a finger has half of the opening, as the URDF's joint
    assert state.position[-1] == pytest.approx(0.02)
    assert to_seconds(state.header.stamp) > 1e9  # this driver stamps by a clock of its own


def test_nothing_is_told_before_every_joint_is_known(graph):
    commander = Commander(graph, "wiring/aloha_piper")
    told = graph.collect(JointState, "left/joint_ctrl_single", COMMAND)
    commander.gripper.publish(Float64MultiArray(data=[0.01, 0.01]))
    commander.arm.publish(Float64MultiArray(data=[0.5] * 11))
    graph.wait(lambda: "not passed on" in commander.process.output, "the refusal")
    commander.arm.publish(Float64MultiArray(data=[float("nan")] * 12))
    commander.command([0.25] * 12, [0.02, 0.02])
    graph.wait(lambda: told, "a command")
    assert told[0].position[0] == 0.25


@pytest.mark.parametrize(
    ("robot", "package"),
    [("aloha_viperx_interbotix", "interbotix_xs_msgs"), ("arx5_arx", "arx5_arm_msg")],
)
def test_a_missing_package_is_named(graph, robot, package):
    if has(package):
        pytest.skip(f"{package} is installed")
    process = graph.start("adapter", f"robot:=wiring/{robot}")
    assert process.wait() == 1
    assert f"{package} is not installed; build" in process.output
    assert "Traceback" not in process.output


def test_a_robot_without_adapters_needs_none(graph):
    process = graph.start("adapter", "robot:=franka")
    assert process.wait() == 1
    assert "has no 'adapters' section" in process.output


@needs("interbotix_xs_msgs")
def test_interbotix_arms_get_groups_and_single_joints(graph):
    from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand

    commander = Commander(graph, "wiring/aloha_viperx_interbotix")
    topics = "/follower_right/commands"
    groups = graph.collect(JointGroupCommand, f"{topics}/joint_group", COMMAND)
    singles = graph.collect(JointSingleCommand, f"{topics}/joint_single", COMMAND)
    commander.command([i / 8 for i in range(12)], [0.0, 0.072])
    graph.wait(lambda: groups and singles, "commands for the right arm")
    assert groups[-1].name == "arm" and list(groups[-1].cmd) == [i / 8 for i in range(6, 12)]
    assert singles[-1].name == "gripper" and singles[-1].cmd == pytest.approx(1.6214)


@needs("arx5_arm_msg")
def test_arx_gets_positions_in_order_and_turns_of_its_gripper(graph):
    from arx5_arm_msg.msg import RobotCmd, RobotStatus

    commander = Commander(graph, "wiring/arx5_arx")
    told = graph.collect(RobotCmd, "arm_cmd", COMMAND)
    report = graph.publisher(RobotStatus, "arm_status", COMMAND)
    commander.command([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.088])
    graph.wait(lambda: told, "a command")
    assert told[-1].mode == 5 and told[-1].gripper == pytest.approx(5.0)
    assert list(told[-1].joint_pos) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    report.publish(RobotStatus(joint_pos=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 2.5]))
    graph.wait(lambda: commander.states, "the arm's joints")
    assert list(commander.states[-1].position) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.022]


@needs("control_msgs")
def test_a_robotiq_is_told_its_knuckle(graph):
    from control_msgs.action import ParallelGripperCommand

    goals = []

    def execute(handle):
        goals.append(handle.request.command)
        handle.succeed()
        return ParallelGripperCommand.Result()

    action = "robotiq_gripper_controller/gripper_cmd"
    server = ActionServer(
        graph.node,
        ParallelGripperCommand,
        action,
        execute,
        goal_callback=lambda _: GoalResponse.ACCEPT,
    )
    commander = Commander(graph, "wiring/ur5_robotiq")
    joints = graph.publisher(JointState, "joint_states", SENSOR)
    knuckle = "robotiq_85_left_knuckle_joint"

    commander.command([0.0] * 6, [0.0])
    graph.wait(lambda: goals, "a goal")
    assert list(goals[-1].name) == [knuckle] and goals[-1].position[0] == pytest.approx(0.7929)
    joints.publish(JointState(name=["wrist_1_joint", knuckle], position=[0.3, 0.0]))
    graph.wait(
        lambda: any("gripper_left_finger_joint" in state.name for state in commander.states),
        "the gripper's own name",
    )
    (ours,) = [s for s in commander.states if "gripper_left_finger_joint" in s.name]
    assert list(ours.position) == [pytest.approx(0.0425)]
    server.destroy()
