# SPDX-License-Identifier: Apache-2.0
"""What a perfect scaffold says of a simulated moment: subtask, goal box, path in a picture.

Pixels are floats, right and down from the top left corner of the picture as it is rendered: the
first pixel reaches from 0 to 1. For truth, never for policies.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from dm0_ros.errors import RobotError
from dm0_ros.robots.cameras import Projection
from dm0_ros.robots.description import find_root, load_urdf
from dm0_ros.robots.kinematics import Chain
from dm0_ros.sim.scene import BIN_PARTS
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import Phase

_CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))
_FACES = np.array(
    [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
)
_CLOSEST = 1e-6  # m in front of the camera: nearer points have no place in the picture


class Truth:
    """The truth about a simulator, as the camera of one slot sees it.

    Raises `RobotError` where the robot has no such simulated camera.
    """

    def __init__(self, simulator: Simulator, slot: str) -> None:
        cameras = simulator.spec.simulation.cameras
        if slot not in cameras:
            message = f"{simulator.spec.name}: has no simulated camera '{slot}'; its cameras are "
            raise RobotError(message + ", ".join(cameras))
        self.slot, self._simulator, self._camera = slot, simulator, cameras[slot]
        urdf = load_urdf(simulator.spec)
        self._root = find_root(urdf)
        self._tools = [Chain(urdf, self._root, end.tool) for end in simulator.spec.end_effectors]

    def subtask(self, name: str, phase: Phase) -> str:
        """In words, what is being done about an object. Raises `RobotError` without words."""
        return self._simulator.task.subtask(phase, name)

    def goal_box(self, name: str, phase: Phase) -> np.ndarray:
        """As `box`, of what the end effector is on its way to: the object, or the bin."""
        return self.bin_box() if phase.ends_in_bin else self.box(name)

    def box(self, name: str) -> np.ndarray:
        """The object's box (4,): x_min, y_min, x_max, y_max; NaN where it is out of view.

        Around all of the object that lies within the picture, whether or not it is hidden.
        """
        return self._bound((name,))

    def bin_box(self) -> np.ndarray:
        """As `box`, of the world's bin. Raises `RobotError` where there is none."""
        if self._simulator.world.bin is None:
            raise RobotError(f"world {self._simulator.world.name}: has no bin; add one")
        return self._bound(BIN_PARTS)

    def visible_shares(self, names: Sequence[str]) -> np.ndarray:
        """Shares (N,) of objects' parts in the picture that nothing hides; NaN: out of view."""
        seen, shares = self._simulator.segment(self.slot), []
        for name in names:
            geom = self._simulator.model.geom(name).id
            alone = np.count_nonzero(self._simulator.segment(self.slot, {geom}) == geom)
            shares.append(np.count_nonzero(seen == geom) / alone if alone else np.nan)
        return np.array(shares)

    def paths(self, names: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """Pixels (..., E, P, 2) of the tools of E end effectors for rows (..., P, C) of joints.

        ``names`` are those of the C columns (rad; others than joints of arms do not matter). A
        point beside the picture is given as it is, one behind the camera is NaN. Raises
        `RobotError` where the columns lack a joint.
        """
        rows = np.asarray(rows, float)
        places = np.stack([self._follow(tool, names, rows) for tool in self._tools], axis=-3)
        frame = self._pose(self._root) if self._simulator.base else np.eye(4)
        places = places @ frame[:3, :3].T + frame[:3, 3]
        pixels = self.projection().project(places.reshape(-1, 3))
        return pixels.reshape(*places.shape[:-1], 2)

    def projection(self) -> Projection:
        """From the simulator's world into the picture, as the camera is now."""
        link = self._camera.link
        return Projection.of(self._camera, None if link is None else self._pose(link))

    def _follow(self, tool: Chain, names: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """The tool's places (..., P, 3) m in the URDF's root."""
        missing = [name for name in tool.joint_names if name not in names]
        if missing:
            raise RobotError(f"no path for the tool: rows lack column {', '.join(missing)}")
        joints = rows[..., [list(names).index(name) for name in tool.joint_names]]
        flat = joints.reshape(-1, joints.shape[-1])
        places = np.stack([tool.pose_at(row)[:3, 3] for row in flat])
        return places.reshape(*joints.shape[:-1], 3)

    def _pose(self, link: str) -> np.ndarray:
        body = self._simulator.data.body(link)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = body.xmat.reshape(3, 3), body.xpos
        return pose

    def _bound(self, geoms: Sequence[str]) -> np.ndarray:
        projection = self.projection()
        outlines = [outline for geom in geoms for outline in self._outlines(geom, projection)]
        points = np.concatenate(outlines)
        points = points[points[:, 2] > _CLOSEST]
        if not len(points):
            return np.full(4, np.nan)
        size = np.array([projection.width, projection.height])
        pixels = size / 2 + projection.focal * points[:, :2] / points[:, 2:]
        return np.clip(np.concatenate([pixels.min(0), pixels.max(0)]), 0, np.tile(size, 2))

    def _outlines(self, geom: str, projection: Projection) -> list[np.ndarray]:
        """What the picture has of each face: polygons (n, 3) m to the right, down and ahead."""
        data, geom_id = self._simulator.data, self._simulator.model.geom(geom).id
        half = self._simulator.model.geom_size[geom_id]
        corners = (_CORNERS * half) @ data.geom_xmat[geom_id].reshape(3, 3).T
        corners = corners + data.geom_xpos[geom_id] - projection.position
        outlines = list((corners @ projection.axes.T)[_FACES])
        across, down = projection.width / 2, projection.height / 2
        focal = projection.focal
        for side in ((focal, 0, across), (-focal, 0, across), (0, focal, down), (0, -focal, down)):
            outlines = [_cut(outline, np.array(side)) for outline in outlines]
        return outlines


def _cut(polygon: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """The part of a convex polygon (n, 3) on that side of a plane through 0 (normal: (3,))."""
    height = polygon @ normal
    following = np.roll(height, -1)
    inside = height >= 0
    if inside.all():
        return polygon
    crosses = inside != (following >= 0)
    share = height / np.where(crosses, height - following, 1.0)
    crossing = polygon + share[:, None] * (np.roll(polygon, -1, axis=0) - polygon)
    kept = np.stack([inside, crosses], axis=1)
    return np.stack([polygon, crossing], axis=1)[kept]
