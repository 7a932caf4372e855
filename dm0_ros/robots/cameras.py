# SPDX-License-Identifier: Apache-2.0
"""Where a camera looks, and where a point in space lands in its picture."""

import math
from dataclasses import dataclass

import numpy as np

from dm0_ros.robots.spec import RobotSpec, SimulatedCamera


def look_at(position, target, up) -> np.ndarray:
    """Right and up axes (6,) of a camera at ``position`` that looks at ``target``, all (3,)."""
    forward = np.subtract(target, position)
    right = np.cross(forward, up)
    upward = np.cross(right, forward)
    return np.concatenate([right / np.linalg.norm(right), upward / np.linalg.norm(upward)])


@dataclass(frozen=True)
class Projection:
    """A pinhole camera without distortion, square pixels, principal point in the middle."""

    width: int  # pixels
    height: int
    focal: float  # pixels
    position: np.ndarray  # (3,) m, in the frame of the points
    axes: np.ndarray  # (3, 3): rows are right, down and forward in that frame

    @classmethod
    def of(cls, camera: SimulatedCamera, link_pose: np.ndarray | None = None) -> "Projection":
        """The projection of a camera from the robot's YAML.

        ``link_pose`` (4, 4) is the pose of the camera's link for one that the robot carries.
        """
        axes = look_at(camera.position, camera.target, camera.up).reshape(2, 3)
        right, up = axes
        axes = np.stack([right, -up, np.cross(up, right)])
        position = np.array(camera.position)
        if link_pose is not None:
            axes = axes @ link_pose[:3, :3].T
            position = link_pose[:3, :3] @ position + link_pose[:3, 3]
        focal = camera.height / 2 / math.tan(camera.field_of_view / 2)
        return cls(camera.width, camera.height, focal, position, axes)

    @property
    def matrix(self) -> np.ndarray:
        """K (3, 3) of pixels as ROS and OpenCV count them: from the middle of the top left one.

        `project` counts from that pixel's corner, so there the centre lies half a pixel further.
        """
        across, down = (self.width - 1) / 2, (self.height - 1) / 2
        return np.array([[self.focal, 0.0, across], [0.0, self.focal, down], [0.0, 0.0, 1.0]])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, 2: right, down from the top left corner) of points (N, 3) in m.

        NaN for points behind the camera. Points outside of the picture are given as they are.
        """
        seen = (np.asarray(points, float) - self.position) @ self.axes.T
        depth = np.where(seen[:, 2] > 1e-6, seen[:, 2], np.nan)
        centre = np.array([self.width, self.height]) / 2
        return centre + self.focal * seen[:, :2] / depth[:, None]


def find_still(robot: RobotSpec, root: str | None) -> dict[str, Projection]:
    """By slot, in the frame of the URDF's ``root``: of the cameras that no other link carries."""
    cameras = robot.simulation.cameras if robot.simulation else {}
    return {
        slot: Projection.of(camera)
        for slot, camera in cameras.items()
        if camera.link in (None, root)
    }
