# SPDX-License-Identifier: Apache-2.0
"""UR5 of the CB3 series, or UR5e: real by default, sim:=true for the simulator.

Arguments: --show-args.
"""

from dm0_ros.nodes.launching import describe_launch


def generate_launch_description():
    """Called by `ros2 launch`."""
    return describe_launch(robots=("ur5", "ur5e"))
