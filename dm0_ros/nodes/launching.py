# SPDX-License-Identifier: Apache-2.0
"""The graph of `dm0_ros.bringup` as a launch description. Needs ROS 2's launch and launch_ros."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from dm0_ros import bringup
from dm0_ros.errors import ResourceError
from dm0_ros.resources import find_resource
from dm0_ros.robots import load_robot
from dm0_ros.robots.description import find_root, load_urdf

_STOP_TIMEOUT = "15"  # s from SIGINT to SIGTERM, and from there to SIGKILL


def describe_launch(robots: tuple[str, ...], **defaults: str) -> LaunchDescription:
    """Launch arguments and processes for a robot: ``robots`` are its variants, default first.

    ``defaults`` are of arguments that have others here than everywhere else.
    """
    arguments = [
        DeclareLaunchArgument(
            "robot",
            default_value=robots[0],
            description=f"{' or '.join(robots)}, or a YAML: by its path or its name in config/.",
        )
    ]
    arguments += _declare(bringup.ARGUMENTS, **defaults)
    arguments.append(
        DeclareLaunchArgument(
            "rviz",
            default_value="false",
            choices=("true", "false"),
            description="Start rviz2 too (if installed); with sim, robot_state_publisher.",
        )
    )
    return LaunchDescription([*arguments, OpaqueFunction(function=_make_nodes)])


def describe_replay_launch() -> LaunchDescription:
    """Launch arguments and processes for a bag that is played into a live graph."""
    bag = DeclareLaunchArgument("bag", description="The bag: its folder, or an MCAP file.")
    arguments = [bag, *_declare(bringup.REPLAY_ARGUMENTS)]
    return LaunchDescription([*arguments, OpaqueFunction(function=_make_replay)])


def _declare(
    arguments: Sequence[bringup.Argument], **defaults: str
) -> list[DeclareLaunchArgument]:
    return [
        DeclareLaunchArgument(
            argument.name,
            default_value=defaults.get(argument.name, argument.default),
            description=argument.description,
            choices=argument.choices or None,
        )
        for argument in arguments
    ]


def _make_replay(context: LaunchContext) -> list[Node]:
    from dm0_ros.replay.staging import stage  # the others need nothing that reads bags

    chosen = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in bringup.REPLAY_ARGUMENTS
    }
    bag = LaunchConfiguration("bag").perform(context)
    processes = bringup.describe_replay(bag, stage(Path(bag), **chosen), **chosen)
    chosen["namespace"] = chosen["into"]
    return [_make_node(process, chosen) for process in processes]


def _make_nodes(context: LaunchContext) -> list[Node]:
    chosen = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in bringup.ARGUMENTS
    }
    robot = LaunchConfiguration("robot").perform(context)
    nodes = [_make_node(process, chosen) for process in bringup.describe(robot, **chosen)]
    if LaunchConfiguration("rviz").perform(context) == "true":
        nodes += _make_view(robot, chosen)
    return nodes


def _make_node(process: bringup.Process, chosen: dict[str, str]) -> Node:
    kind = LifecycleNode if process.lifecycle else Node
    return kind(
        name=process.name,
        namespace=chosen["namespace"],
        # Not package and executable: this Python is the one that has the packages, and `dm0 up`
        # starts the same command.
        executable=sys.executable,
        arguments=["-m", f"dm0_ros.nodes.{process.name}"],
        exec_name=process.name,
        parameters=[*filter(None, [chosen["params_file"]]), dict(process.parameters)],
        remappings=list(process.remaps.items()),
        ros_arguments=["--log-level", chosen["log_level"]],
        additional_env=bringup.environment(),
        output="screen",
        sigterm_timeout=_STOP_TIMEOUT,
        on_exit=partial(_end_all, process.name),
    )


def _make_view(robot: str, chosen: dict[str, str]) -> list[Node]:
    """RViz, and for the simulator what a driver brings along: the robot's links as frames."""
    spec = load_robot(robot)
    urdf = load_urdf(spec)
    clock = {"use_sim_time": chosen["use_sim_time"] == "true"}
    window = Node(
        package="rviz2",
        executable="rviz2",
        namespace=chosen["namespace"],
        arguments=_choose_view(spec.name, find_root(urdf)),
        parameters=[clock],
    )
    if chosen["sim"] != "true":
        return [window]
    description = {"robot_description": ParameterValue(urdf, value_type=str)}
    frames = Node(
        package="robot_state_publisher",
        executable="robot_state_publisher",
        namespace=chosen["namespace"],
        parameters=[description, clock],
    )
    return [frames, window]


def _choose_view(name: str, root: str) -> list[str]:
    """RViz's arguments: the robot's own file, or that for any robot, in the URDF's root."""
    try:
        return ["-d", str(find_resource("config", f"rviz/{name}.rviz"))]
    except ResourceError:
        return ["-d", str(find_resource("config", "rviz/robot.rviz")), "-f", root]


def _end_all(name: str, _event, context: LaunchContext) -> list[Shutdown]:
    """A graph with a part missing does not go on; a second shutdown would be an error."""
    return [] if context.is_shutdown else [Shutdown(reason=f"{name} ended")]
