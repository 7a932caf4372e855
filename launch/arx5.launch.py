# SPDX-License-Identifier: Apache-2.0
"""ARX X5, or L5: real by default, sim:=true for the simulator. Arguments: --show-args."""

from dm0_ros.nodes.launching import describe_launch


def generate_launch_description():
    """Called by `ros2 launch`."""
    return describe_launch(robots=("arx5", "arx5_l5"))
