# SPDX-License-Identifier: Apache-2.0
"""The mobile base: real by default, sim:=true for a house in MuJoCo. Arguments: --show-args."""

from dm0_ros.nodes.launching import describe_launch


def generate_launch_description():
    """Called by `ros2 launch`."""
    return describe_launch(robots=("mobile_base",))
