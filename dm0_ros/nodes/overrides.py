# SPDX-License-Identifier: Apache-2.0
"""The executor's parameters: what may overrule the robot's YAML, and how plans take over."""

from dataclasses import replace

from rclpy.node import Node

from dm0_ros.control import SEAMS, Seam, make_seam
from dm0_ros.nodes.parameters import declare
from dm0_ros.robots import RobotSpec, load_robot
from dm0_ros.robots.loading import as_simulated

_MOST_ROWS = 1000

# Parameters that may overrule the robot's YAML: what they are, and the highest value.
_SETTINGS = {
    "rate": ("Commands a second (Hz)", 1000.0),
    "blend_time": ("Time over which a new plan takes over from the old one (s)", 5.0),
    "max_first_distance": ("Distance from the measured state to refuse plans at (rad)", 7.0),
    "state_timeout": ("Age of joint states from which on the executor stops (s)", 60.0),
    "plan_timeout": ("Age of an observation from which on its plan is left; 0: never (s)", 60.0),
}


def declare_overrides(node: Node) -> None:
    """Declare robot, seam, and what may overrule the robot's own settings."""
    declare(node, "robot", "franka", "Robot: a name in config/, or the path of a YAML")
    declare(node, "simulated", False, "Latencies of the robot's simulation, not of the real one")
    for name, (description, highest) in _SETTINGS.items():
        description = f"{description}; negative: the robot's own"
        declare(node, name, -1.0, description, (-1.0, highest))
    description = "How a new plan takes over; see docs/executor.md"
    declare(node, "seam", "blend", description, choices=SEAMS)
    description = "Rows of a plan that hold_until_done plays"
    declare(node, "executed_rows", 50, description, (1, _MOST_ROWS))


def read_robot(node: Node) -> RobotSpec:
    """The robot as the parameters want it. Raises `RobotError` where its YAML is wrong."""
    robot = load_robot(node.get_parameter("robot").value)
    if node.get_parameter("simulated").value:
        robot = as_simulated(robot)
    given = {name: node.get_parameter(name).value for name in _SETTINGS}
    changed = {name: value for name, value in given.items() if value >= 0}
    return replace(robot, executor=replace(robot.executor, **changed))


def read_seam(node: Node, robot: RobotSpec) -> tuple[Seam, int | None]:
    """The strategy, and how many rows of a plan it plays; None: all that are not over.

    Rows are counted as the policy made them. A plan of poses becomes one of joints with other
    rows, so whoever takes plans cuts them, and the strategy plays what it gets.
    """
    name = node.get_parameter("seam").value
    seam = make_seam(name, robot.executor.blend_time, _MOST_ROWS)
    held = name == "hold_until_done"
    return seam, node.get_parameter("executed_rows").value if held else None
