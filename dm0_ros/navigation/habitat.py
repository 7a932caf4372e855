# SPDX-License-Identifier: Apache-2.0
"""Scenes of habitat-sim behind the interface of our own houses.

habitat-sim is imported late: there is no wheel of it. Habitat's y points up and its agents look
along -z; here z points up and they look along x.
"""

import gzip
import importlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.navigation.objectnav import Episode, ObjectNav, Rules
from dm0_ros.navigation.views import View

PREFIX = "habitat:"  # of a world's name: what follows is the file of a scene
_UNREACHABLE = math.inf


class HabitatError(Dm0Error):
    """habitat-sim is not installed, or a scene or its episodes cannot be used."""


def find_habitat():
    """The module habitat_sim; raises `HabitatError` that says how to get it."""
    try:
        return importlib.import_module("habitat_sim")
    except ModuleNotFoundError as cause:
        raise HabitatError(
            "habitat-sim is not installed (there is no wheel of it); install it with "
            "'conda install habitat-sim -c conda-forge -c aihabitat', or use one of our own "
            "houses: world 'house'"
        ) from cause


def to_habitat(point: Sequence[float]) -> np.ndarray:
    """Our x, y, z (3,) in Habitat's axes."""
    x, y, z = point
    return np.array([-y, z, -x], np.float32)


def from_habitat(point: Sequence[float]) -> np.ndarray:
    """Habitat's x, y, z (3,) in our axes."""
    x, y, z = (float(value) for value in point)
    return np.array([-z, -x, y])


def yaw_of(rotation: Sequence[float]) -> float:
    """Our yaw of a rotation about Habitat's vertical, a quaternion x y z w as in its data sets."""
    _, y, _, w = rotation
    return 2 * math.atan2(y, w)


def rotation_of(yaw: float, tilt: float) -> tuple[float, float, float, float]:
    """Habitat's rotation of an eye, a quaternion w x y z: about its y, then about the eye's x."""
    turn, nod = yaw / 2, tilt / 2
    return (
        math.cos(turn) * math.cos(nod),
        math.cos(turn) * math.sin(nod),
        math.sin(turn) * math.cos(nod),
        -math.sin(turn) * math.sin(nod),
    )


class HabitatScene:
    """One scene: a `Place`, a `Camera`, and geodesic distances on its navigation mesh.

    Not thread-safe. Raises `HabitatError` without habitat-sim, a scene, or a navigation mesh.
    """

    def __init__(self, scene: str, rules: Rules | None = None) -> None:
        self._sim_module = find_habitat()
        rules = rules or Rules()
        if not scene:
            raise HabitatError(f"which scene? Give its file, as in {PREFIX}/data/house.glb")
        if not Path(scene).is_file():
            raise HabitatError(f"{scene}: no such file; give the file of a scene")
        self.name, self._rules = Path(scene).stem, rules
        self._sim = self._open(scene)
        if not self._sim.pathfinder.is_loaded:
            self._make_mesh()
        self._floor = float(self._sim.pathfinder.get_random_navigable_point()[1])

    def _open(self, scene: str):
        module, rules = self._sim_module, self._rules
        backend = module.SimulatorConfiguration()
        backend.scene_id = scene
        sensors = []
        for name, kind in (("rgb", module.SensorType.COLOR), ("depth", module.SensorType.DEPTH)):
            sensor = module.CameraSensorSpec()
            sensor.uuid, sensor.sensor_type = name, kind
            sensor.resolution = [rules.height, rules.width]
            sensor.hfov = math.degrees(rules.field_of_view)
            sensor.position = [0.0, 0.0, 0.0]  # the agent is put where the eye is
            sensors.append(sensor)
        agent = module.agent.AgentConfiguration()
        agent.height, agent.radius = rules.eye_height, rules.radius
        agent.sensor_specifications = sensors
        return module.Simulator(module.Configuration(backend, [agent]))

    def _make_mesh(self) -> None:
        settings = self._sim_module.NavMeshSettings()
        settings.set_defaults()
        settings.agent_radius = self._rules.radius
        settings.agent_height = self._rules.eye_height
        if not self._sim.recompute_navmesh(self._sim.pathfinder, settings):
            raise HabitatError(f"{self.name}: no navigation mesh could be made of the scene")

    def set_floor(self, height: float) -> None:
        """Work on the storey at that height, m."""
        self._floor = height

    def is_free(self, points: np.ndarray) -> np.ndarray:
        """See `Place`."""
        points = np.asarray(points, float).reshape(-1, 2)
        finder = self._sim.pathfinder
        return np.array([bool(finder.is_navigable(self._lift(point))) for point in points])

    def drive(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """See `Place`."""
        step = self._sim.pathfinder.try_step_no_sliding
        return from_habitat(step(self._lift(start), self._lift(end)))[:2]

    def sample(self, random: np.random.Generator, count: int) -> np.ndarray:
        """See `Place`."""
        self._sim.pathfinder.seed(int(random.integers(2**31)))
        draw = self._sim.pathfinder.get_random_navigable_point
        return np.array([from_habitat(draw())[:2] for _ in range(count)])

    def distance(self, start: np.ndarray, goals: np.ndarray) -> float:
        """Geodesic distance from ``start`` (2,) to the nearest of ``goals`` (G, 3, ours), m."""
        path = self._sim_module.MultiGoalShortestPath()
        path.requested_start = self._lift(start)
        path.requested_ends = [to_habitat(goal) for goal in goals]
        found = self._sim.pathfinder.find_path(path)
        return float(path.geodesic_distance) if found else _UNREACHABLE

    def open_camera(self, width: int, height: int, field_of_view: float) -> "HabitatScene":
        """See `Place`. The scene's one camera is that of the rules."""
        rules = self._rules
        same = abs(field_of_view - rules.vertical_field_of_view) < 1e-3
        if (width, height) != (rules.width, rules.height) or not same:
            raise HabitatError(
                f"{self.name}: has ObjectNav's camera of {rules.width} x {rules.height} pixels; "
                "give the robot's camera the same"
            )
        return self

    def look(self, position, yaw: float, tilt: float = 0.0, want_depth: bool = False) -> View:
        """See `Camera`; heights count from the floor."""
        state = self._sim_module.AgentState()
        state.position = to_habitat([*position[:2], position[2] + self._floor])
        quaternion = importlib.import_module("quaternion").quaternion  # comes with habitat-sim
        state.rotation = quaternion(*rotation_of(yaw, tilt))
        self._sim.get_agent(0).set_state(state)
        seen = self._sim.get_sensor_observations()
        colour = np.ascontiguousarray(seen["rgb"][..., :3])
        return View(colour, np.asarray(seen["depth"], np.float32) if want_depth else None)

    def close(self) -> None:
        """Free the simulator."""
        self._sim.close()

    def _lift(self, point: np.ndarray) -> np.ndarray:
        return to_habitat([point[0], point[1], self._floor])


class _Distances:
    """Distances to one goal, as `Geodesic` gives them."""

    def __init__(self, scene: HabitatScene, goals: np.ndarray) -> None:
        self._scene, self.goals = scene, goals

    def distance(self, points: np.ndarray) -> np.ndarray:
        """(N,) m."""
        points = np.asarray(points, float).reshape(-1, 2)
        return np.array([self._scene.distance(point, self.goals) for point in points])


class HabitatObjectNav(ObjectNav):
    """ObjectNav in a scene, with the episodes of Habitat's data set for it."""

    def __init__(self, scene: HabitatScene, rules: Rules | None = None) -> None:
        self.rules, self.space, self.house = rules or Rules(), scene, None
        self.geodesics = {}

        def look(position, yaw, tilt):
            view = scene.look(position, yaw, tilt, want_depth=True)
            return view.colour, view.depth

        self._look = look

    def begin_recorded(self, record: dict, goals: dict) -> None:
        """Begin an episode of a data set; ``goals`` is its ``goals_by_category``."""
        episode, height, points = read_episode(record, goals)
        self.space.set_floor(height)
        self.geodesics = {episode.category: _Distances(self.space, points)}
        self.begin(episode)


def read_dataset(path: str | Path) -> dict:
    """The content of a data set's file, ``.json`` or ``.json.gz``."""
    path = Path(path)
    try:
        raw = path.read_bytes()
        text = gzip.decompress(raw) if path.suffix == ".gz" else raw
        return json.loads(text)
    except (OSError, ValueError) as cause:
        raise HabitatError(f"{path}: is no data set of episodes: {cause}") from cause


def read_episode(record: dict, goals: dict) -> tuple[Episode, float, np.ndarray]:
    """An episode in our axes, the height of its floor (m), and its view points (N, 3).

    Raises `HabitatError` where the goals have no view points for it.
    """
    category = record["object_category"]
    key = f"{Path(record['scene_id']).name}_{category}"
    places = [
        from_habitat(view["agent_state"]["position"])
        for goal in goals.get(key, [])
        for view in goal["view_points"]
    ]
    if not places:
        raise HabitatError(f"the data set has no view points for {key}")
    x, y, height = from_habitat(record["start_position"])
    start = (float(x), float(y), yaw_of(record["start_rotation"]))
    return Episode(category, start), float(height), np.array(places)
