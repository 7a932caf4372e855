# SPDX-License-Identifier: Apache-2.0
"""A house in MuJoCo, and a camera that can be put anywhere in it: colour and depth."""

import math

import mujoco
import numpy as np

from dm0_ros.navigation.free_space import FreeSpace
from dm0_ros.navigation.house import House, Shape, Solid
from dm0_ros.navigation.views import View

_FLOOR_THICKNESS = 0.02  # m
_NEAR, _FAR = 0.03, 40.0  # m: what is nearer or further is not drawn
_SHAPES = {
    Shape.BOX: mujoco.mjtGeom.mjGEOM_BOX,
    Shape.CYLINDER: mujoco.mjtGeom.mjGEOM_CYLINDER,
    Shape.BALL: mujoco.mjtGeom.mjGEOM_SPHERE,
}


def build_house(house: House, width: int, height: int, field_of_view: float) -> mujoco.MjModel:
    """Floors, walls, furniture, light, and the camera ``eye`` on a body that is moved by hand."""
    scene = mujoco.MjSpec()
    scene.visual.global_.offwidth, scene.visual.global_.offheight = width, height
    # Software rendering: shadows and multisampling cost twenty times the rest of the picture.
    scene.visual.quality.shadowsize = 1
    scene.visual.quality.offsamples = 0
    # Near and far are in units of the extent.
    scene.stat.extent = 1.0
    scene.visual.map.znear, scene.visual.map.zfar = _NEAR, _FAR
    scene.visual.headlight.ambient = [0.45, 0.45, 0.45]
    scene.visual.headlight.diffuse = [0.15, 0.15, 0.15]
    scene.visual.headlight.specular = [0, 0, 0]
    # One far light, so that walls of one colour differ by the way they face.
    scene.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        dir=[-0.45, 0.25, -0.85],
        diffuse=[0.5, 0.5, 0.5],
        specular=[0, 0, 0],
    )
    for room in house.rooms:
        middle = (np.array(room.lower) + room.upper) / 2
        size = (np.array(room.upper) - room.lower) / 2
        _add(
            scene,
            mujoco.mjtGeom.mjGEOM_BOX,
            [*middle, -_FLOOR_THICKNESS / 2],
            [*size, _FLOOR_THICKNESS / 2],
            room.floor,
        )
    for solid in house.wall_solids:
        _add_solid(scene, solid)
    for solids in house.furniture.values():
        for solid in solids:
            _add_solid(scene, solid)
    eye = scene.worldbody.add_body(name="eye", mocap=True)
    # A MuJoCo camera looks along -z with y up: here along the body's x, with z up.
    eye.add_camera(
        name="eye", fovy=math.degrees(field_of_view), xyaxes=[0.0, -1.0, 0.0, 0.0, 0.0, 1.0]
    )
    return scene.compile()


def _add_solid(scene: mujoco.MjSpec, solid: Solid) -> None:
    width, depth, height = (edge / 2 for edge in solid.size)
    size = {
        Shape.BOX: [width, depth, height],
        Shape.CYLINDER: [width, height, 0.0],
        Shape.BALL: [width, 0.0, 0.0],
    }[solid.shape]
    _add(scene, _SHAPES[solid.shape], solid.position, size, solid.colour)


def _add(scene: mujoco.MjSpec, kind, position, size, colour) -> None:
    scene.worldbody.add_geom(
        type=kind, pos=position, size=size, rgba=[*colour, 1], contype=0, conaffinity=0
    )


class HouseCamera:
    """Looks around in a house. Not thread-safe; render from the thread that made it."""

    def __init__(self, house: House, width: int, height: int, field_of_view: float) -> None:
        """``field_of_view`` is the vertical one, rad."""
        self._model = build_house(house, width, height, field_of_view)
        self._data = mujoco.MjData(self._model)
        self._size = (height, width)
        self._renderer: mujoco.Renderer | None = None

    def look(self, position, yaw: float, tilt: float = 0.0, want_depth: bool = False) -> View:
        """The view from ``position`` (3,); ``tilt`` rad upwards, ``yaw`` to the left."""
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self._model, *self._size)
        turn, nod = np.zeros(4), np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), yaw)
        mujoco.mju_axisAngle2Quat(nod, np.array([0.0, 1.0, 0.0]), -tilt)
        mujoco.mju_mulQuat(self._data.mocap_quat[0], turn, nod)
        self._data.mocap_pos[0] = position
        mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, camera="eye")
        colour = self._renderer.render()
        if not want_depth:
            return View(colour, None)
        self._renderer.enable_depth_rendering()
        try:
            return View(colour, self._renderer.render())
        finally:
            self._renderer.disable_depth_rendering()

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


class HousePlace(FreeSpace):
    """One of our houses as a `Place` for a base of ``radius`` m."""

    @property
    def name(self) -> str:
        """The house's."""
        return self.house.name

    def open_camera(self, width: int, height: int, field_of_view: float) -> HouseCamera:
        """See `Place`."""
        return HouseCamera(self.house, width, height, field_of_view)
