# SPDX-License-Identifier: Apache-2.0
"""Messages into a bag, without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dm0_ros.replay.bag import BagWriter
from dm0_ros.replay.definitions import make_typestore


class MessageWriter:
    """Writes a new bag of messages that are made from their fields. Times are s since 1970."""

    def __init__(self, path: Path) -> None:
        """Raises `Dm0Error` where there is something at ``path``."""
        self.bag, self.count = BagWriter(path), 0
        self._types = make_typestore()

    def text(self, topic: str, time: float, text: str) -> None:
        """A std_msgs/String."""
        self._write(topic, time, self._make("std_msgs/msg/String", data=text))

    def joints(self, topic: str, time: float, names: Sequence[str], values: np.ndarray) -> None:
        """A sensor_msgs/JointState."""
        empty = np.empty(0)
        message = self._make(
            "sensor_msgs/msg/JointState",
            header=self._header(time),
            name=list(names),
            position=np.asarray(values, np.float64),
            velocity=empty,
            effort=empty,
        )
        self._write(topic, time, message)

    def positions(self, topic: str, time: float, values: np.ndarray) -> None:
        """A std_msgs/Float64MultiArray."""
        layout = self._make("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
        kind, values = "std_msgs/msg/Float64MultiArray", np.asarray(values, np.float64)
        self._write(topic, time, self._make(kind, layout=layout, data=values))

    def trajectory(
        self, topic: str, time: float, names: Sequence[str], values: np.ndarray
    ) -> None:
        """A trajectory_msgs/JointTrajectory of one point that is due at once."""
        empty = np.empty(0)
        point = self._make(
            "trajectory_msgs/msg/JointTrajectoryPoint",
            positions=np.asarray(values, np.float64),
            velocities=empty,
            accelerations=empty,
            effort=empty,
            time_from_start=self._make("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
        )
        message = self._make(
            "trajectory_msgs/msg/JointTrajectory",
            header=self._header(time),
            joint_names=list(names),
            points=[point],
        )
        self._write(topic, time, message)

    def jpeg(self, topic: str, time: float, data: np.ndarray) -> None:
        """A sensor_msgs/CompressedImage of an encoded picture (N,) uint8."""
        kind, header = "sensor_msgs/msg/CompressedImage", self._header(time)
        self._write(topic, time, self._make(kind, header=header, format="jpeg", data=data))

    def _header(self, time: float) -> Any:
        sec, nanosec = divmod(round(time * 1e9), 10**9)
        stamp = self._make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id="")

    def _make(self, kind: str, **fields: Any) -> Any:
        return self._types.types[kind](**fields)

    def _write(self, topic: str, time: float, message: Any) -> None:
        kind = message.__msgtype__
        if topic not in self.bag.topics:
            self.bag.add_topic(topic, kind)
        data = bytes(self._types.serialize_cdr(message, kind))
        self.bag.write(topic, round(time * 1e9), data)
        self.count += 1
