# SPDX-License-Identifier: Apache-2.0
"""ALOHA of two Trossen ViperX 300: real by default, sim:=true for the simulator.

Arguments: --show-args.
"""

from dm0_ros.nodes.launching import describe_launch


def generate_launch_description():
    """Called by `ros2 launch`."""
    return describe_launch(robots=("aloha_viperx",))
