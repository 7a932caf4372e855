# SPDX-License-Identifier: Apache-2.0
"""The mobile base in a scene of habitat-sim: world:=habitat:/path/to/scene.glb."""

from dm0_ros.nodes.launching import describe_launch


def generate_launch_description():
    """Called by `ros2 launch`."""
    return describe_launch(robots=("mobile_base",), sim="true", world="habitat:")
