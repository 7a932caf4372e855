# SPDX-License-Identifier: Apache-2.0
"""Two ViperX 300 on a base: real by default, sim:=true for the simulator. Only the arms move.

Arguments: --show-args.
"""

from dm0_ros.nodes.launching import describe_launch


def generate_launch_description():
    """Called by `ros2 launch`."""
    return describe_launch(robots=("mobile_aloha", "mobile_aloha_holonomic"))
