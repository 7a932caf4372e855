# SPDX-License-Identifier: Apache-2.0
"""What a perfect scaffold says of a recorded moment, for every object that could be named."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dm0_ros.errors import ScaffoldError
from dm0_ros.robots import load_robot
from dm0_ros.robots.description import find_root, load_urdf
from dm0_ros.robots.kinematics import Chain
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.scaffold.content import Scaffold, name_paths
from dm0_ros.scaffold.places import box_to_places, clip_to_picture, path_to_places
from dm0_ros.scaffold.settings import ScaffoldSettings
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.truth import Truth
from dm0_ros.sim.world import PHASES, Phase, load_world
from dm0_ros.training.expert import Expert, Scene
from dm0_ros.training.recipe import ArmRecipe, RecipeError

PHASE_ORDER = tuple(Phase)
"""What the numbers of recorded phases stand for."""


class Annotator:
    """Annotates a simulator's moments with what an expert is about to do in it."""

    def __init__(self, simulator: Simulator, expert: Expert, settings: ScaffoldSettings) -> None:
        self.truth = Truth(simulator, settings.view)
        self._simulator, self._expert = simulator, expert
        self._path_rows = list(settings.path_rows)

    def annotate(self, plans: np.ndarray) -> dict[str, np.ndarray]:
        """The moment, for each of O objects and its plan of ``plans`` (O, H, C) by the expert.

        ``boxes`` (O, 4) float32: the goal, see `Truth.box`, in pixels of the main view's picture
        as rendered. ``phases`` (O,) uint8: see `PHASE_ORDER`. ``visible`` (O,) float32: the share
        of the named object that is seen, see `Truth.visible_shares`. ``paths`` (O, E, P, 2)
        float32: pixels of the E tools at the P rows of ``path_rows``, see `Truth.paths`; left out
        where the settings name no such rows.
        """
        names = self._simulator.world.object_names
        phases = self._expert.phases(Scene.of(self._simulator))
        pairs = list(zip(names, phases, strict=True))
        annotations = {
            "boxes": np.array([self.truth.goal_box(*pair) for pair in pairs], np.float32),
            "phases": np.array([PHASE_ORDER.index(phase) for phase in phases], np.uint8),
            "visible": self.truth.visible_shares(names).astype(np.float32),
        }
        if self._path_rows:
            paths = self.truth.paths(self._expert.names, plans[:, self._path_rows])
            annotations["paths"] = paths.astype(np.float32)
        return annotations


class Composer:
    """Makes scaffolds of annotations. Raises `RecipeError` as `check_scaffold` does."""

    def __init__(self, recipe: ArmRecipe) -> None:
        if recipe.scaffold is None:
            raise RecipeError(f"{recipe.name}: says nothing of scaffolds; add 'scaffold'")
        check_scaffold(recipe)
        world, robot = load_world(recipe.world), load_robot(recipe.robot)
        self._names, self._task = world.object_names, world.task(recipe.task)
        camera = robot.simulation.cameras[recipe.scaffold.view]
        self._size = (camera.width, camera.height)
        self._ends = name_paths([end.name for end in robot.end_effectors])

    def compose(
        self, moment: Mapping[str, np.ndarray], index: int, actions: Sequence[int] = ()
    ) -> Scaffold:
        """The scaffold of a ``moment``, as `Annotator.annotate` has it, for one of the objects.

        What lies beside the picture is moved to its edge; no box is one out of view, no path one
        that goes behind the camera. ``actions`` are bins.
        """
        phase, box = PHASE_ORDER[moment["phases"][index]], moment["boxes"][index]
        paths = {}
        if "paths" in moment:
            paths = dict(zip(self._ends, moment["paths"][index], strict=True))
        return Scaffold(
            self._task.subtask(phase, self._names[index]),
            None if np.isnan(box).any() else box_to_places(box, *self._size),
            {
                name: path_to_places(clip_to_picture(path, *self._size), *self._size)
                for name, path in paths.items()
                if not np.isnan(path).any()
            },
            tuple(actions),
        )


def list_annotations(
    settings: ScaffoldSettings, objects: int, ends: int
) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of everything that `Annotator.annotate` returns."""
    annotations: dict[str, tuple[tuple[int, ...], type]] = {
        "boxes": ((objects, 4), np.float32),
        "phases": ((objects,), np.uint8),
        "visible": ((objects,), np.float32),
    }
    if settings.path_rows:
        annotations["paths"] = ((objects, ends, len(settings.path_rows), 2), np.float32)
    return annotations


def load_annotations(recipe: ArmRecipe, folder: Path) -> dict[str, np.ndarray]:
    """What `Annotator.annotate` said of a recording's F frames: arrays (F, ...) by name."""
    names = list_annotations(recipe.scaffold, 0, 0) if recipe.scaffold else ()
    return {name: np.load(folder / f"{name}.npy") for name in names}


def check_scaffold(recipe: ArmRecipe) -> None:
    """Raises `RecipeError` where the recipe's robot or network lacks what its scaffold asks for,
    and `RobotError` where its task has no words for a phase."""
    if recipe.scaffold is None:
        return
    view, robot = recipe.scaffold.view, load_robot(recipe.robot)
    possible = [slot for slot in find_views(robot) if slot not in recipe.masked_slots]
    if view not in possible:
        message = f"'{view}' is no fixed camera that the network sees; choose one of "
        raise RecipeError(message + (", ".join(possible) or "none"), key=("scaffold", "view"))
    try:
        recipe.scaffold.require_rows(recipe.network.chunk_size)
    except ScaffoldError as flaw:
        raise RecipeError(flaw.args[0], key=("scaffold", *flaw.key)) from flaw
    task = load_world(recipe.world).task(recipe.task)
    for phase in PHASES[task.kind]:
        task.subtask(phase, "object")


def find_views(robot: RobotSpec) -> tuple[str, ...]:
    """The slots of simulated cameras that no joint moves: those that may be the main view."""
    cameras = robot.simulation.cameras if robot.simulation else {}
    urdf = load_urdf(robot)
    root = find_root(urdf)
    links = {slot: cameras[slot].link or root for slot in robot.camera_slots if slot in cameras}
    return tuple(s for s, link in links.items() if not Chain(urdf, root, link).joint_names)
