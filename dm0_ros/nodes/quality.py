# SPDX-License-Identifier: Apache-2.0
"""Quality of service by purpose, the same on both ends of every topic of the package."""

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)

# Pictures and joint states: the newest counts, a lost one is not worth a delay.
SENSOR = qos_profile_sensor_data

# Plans and commands: each counts, and a burst of ten may wait.
COMMAND = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE
)

# States that someone who joins late must still learn.
STATUS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
