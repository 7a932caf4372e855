# SPDX-License-Identifier: Apache-2.0
"""What wordings may say of every sample of a source: its robot and its kind of control.

In the words of the public vocabulary, which has a token for each (facts: dm0_model.md, C.5). A
robot or a control that it has no word for is not named.
"""

from dm0_ros.robots.spec import Space
from dm0_ros.training.sources.sample import Source

ROBOTS = (
    *("ur5", "franka", "aloha", "r1_lite", "arx5", "umi", "z1", "g1", "realman_756f", "widowx"),
    *("kuka", "xarm", "google_robot", "stretch", "sawyer", "jaco2", "fanuc_mate", "dlr_edan"),
)
_CONTROLS = {Space.JOINT_POSITION: "<joint_control>", Space.EEF_POSE: "<eef_control>"}


def find_fields(source: Source) -> dict[str, str]:
    """Fields of `Wordings` that are the same for all of a source's samples."""
    if source.embodiment is None:
        return {}
    fields = {}
    if source.embodiment.robot in ROBOTS:
        fields["robot"] = f"<robot_{source.embodiment.robot}>"
    if source.layout.space in _CONTROLS:
        fields["control"] = _CONTROLS[source.layout.space]
    return fields
