# SPDX-License-Identifier: Apache-2.0
"""A bag played into a live graph that reaches no robot: bag:=FOLDER. Arguments: --show-args."""

from dm0_ros.nodes.launching import describe_replay_launch


def generate_launch_description():
    """Called by `ros2 launch`."""
    return describe_replay_launch()
