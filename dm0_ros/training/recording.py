# SPDX-License-Identifier: Apache-2.0
"""Episodes of the scripted expert in simulation, recorded as samples for training.

Every frame is labelled with the expert's plan for every object, not only for the one that it was
moving to: one picture then teaches what each colour means.
"""

import json
import multiprocessing
import queue
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dm0_ros.policy.pictures import prepare_picture
from dm0_ros.robots import load_robot
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.world import load_world
from dm0_ros.training.annotation import (
    Annotator,
    check_scaffold,
    list_annotations,
    load_annotations,
)
from dm0_ros.training.dataset import Recording, to_pixels
from dm0_ros.training.expert import Expert, Scene
from dm0_ros.training.recipe import ArmRecipe

_STAMP = "recording.json"
_WATCH = 0.1  # s between looks whether a recording process has died


class Recorder:
    """Performs episodes one by one. The same seed and number give the same episode."""

    def __init__(self, recipe: ArmRecipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.robot = load_robot(recipe.robot)
        self.layout = self.robot.layout(recipe.layout)
        self.simulator = Simulator(self.robot, load_world(recipe.world), seed, recipe.task)
        self.expert = Expert(self.simulator, recipe.workspace, recipe.expert, recipe.place)
        self.annotator = None
        if recipe.scaffold:
            self.annotator = Annotator(self.simulator, self.expert, recipe.scaffold)

    def perform(self, episode: int) -> dict[str, np.ndarray]:
        """Frames of one episode: pictures (F, V, P, P, 3), states (F, C), rows (F, O, H, C).

        And what `Annotator` says of them, where the recipe has a scaffold.
        """
        random = np.random.default_rng([self.seed, episode])
        simulator, data = self.simulator, self.recipe.data
        poses = simulator.world.place(random)
        start = self.expert.start(random, data.start_at_home, data.disturbance)
        simulator.arrange(poses, start)
        target = random.integers(len(simulator.world.objects))
        frames = []
        for _ in range(data.frames):
            plans = self._plan()
            frames.append(self._frame(plans))
            self._follow(plans[target], random)
        return {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}

    def _plan(self) -> np.ndarray:
        rows = self.recipe.network.chunk_size
        return self.expert.plan(Scene.of(self.simulator), rows, self.recipe.step)

    def _frame(self, plans: np.ndarray) -> dict[str, np.ndarray]:
        views = [self._look(slot) for slot in self.robot.camera_slots]
        measured = self.simulator.measured()
        columns = self.layout.columns
        order = [self.expert.names.index(name) for name in columns]
        frame = {
            "pictures": np.stack(views),
            "states": np.array([measured[name] for name in columns], np.float32),
            "rows": plans[..., order].astype(np.float32),
        }
        return frame | (self.annotator.annotate(plans) if self.annotator else {})

    def _look(self, slot: str) -> np.ndarray:
        """What the network would see (P, P, 3); nothing where it does without this camera."""
        size = self.recipe.network.vision.image_size
        if slot in self.recipe.masked_slots:
            return np.zeros((size, size, 3), np.uint8)
        return to_pixels(prepare_picture(self.simulator.render(slot), size))

    def _follow(self, plan: np.ndarray, random: np.random.Generator) -> None:
        data = self.recipe.data
        shaken = len(self.expert.joint_names)
        error = np.zeros(plan.shape[1])
        error[:shaken] = random.normal(0.0, data.disturbance, shaken) * (random.random() < 0.5)
        dt = 1.0 / self.robot.executor.rate
        times = np.arange(len(plan)) * self.recipe.step
        for tick in range(round(data.frame_interval / dt)):
            now = tick * dt
            targets = [np.interp(now, times, column) for column in plan.T]
            offset = error * now / data.frame_interval
            self.simulator.command(self.expert.names, targets + offset)
            self.simulator.step(dt)


def record_episodes(
    recipe: ArmRecipe, seed: int, folder: Path, workers: int, report: Callable[[int, int], None]
) -> None:
    """Record the recipe's episodes into ``folder`` unless they are there.

    ``report`` is called with episodes done and in all. Nothing half-done is ever mistaken for
    data: the folder appears when all of it is written.
    """
    check_scaffold(recipe)
    if is_recorded(recipe, seed, folder):
        return
    unfinished = folder.with_name(folder.name + ".unfinished")
    for leftover in (folder, unfinished):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir(parents=True)
    count = recipe.data.episodes
    _allocate(recipe, unfinished)
    context = multiprocessing.get_context("spawn")
    shares = [range(first, count, workers) for first in range(workers)]
    done = context.Queue()
    tasks = [
        context.Process(target=_work, args=(recipe, seed, unfinished, share, done), daemon=True)
        for share in shares
    ]
    for task in tasks:
        task.start()
    _await(tasks, done, count, report)
    (unfinished / _STAMP).write_text(_stamp(recipe, seed))
    unfinished.rename(folder)


def is_recorded(recipe: ArmRecipe, seed: int, folder: Path) -> bool:
    """Whether ``folder`` holds what `record_episodes` would leave there."""
    stamp = folder / _STAMP
    return stamp.exists() and stamp.read_text() == _stamp(recipe, seed)


def load_episodes(recipe: ArmRecipe, folder: Path) -> Recording:
    """What `record_episodes` has left in ``folder``."""
    world = load_world(recipe.world)
    return Recording(
        np.load(folder / "pictures.npy", mmap_mode="r"),
        np.load(folder / "states.npy"),
        np.load(folder / "rows.npy", mmap_mode="r"),
        world.object_names,
        world.task(recipe.task).instructions.training,
        together=recipe.data.frames,
        annotations=load_annotations(recipe, folder),
    )


def _stamp(recipe: ArmRecipe, seed: int) -> str:
    return json.dumps({"seed": seed, **_describe(recipe)}, sort_keys=True)


def _describe(recipe: ArmRecipe) -> dict:
    parts = asdict(recipe)
    keys = ("robot", "layout", "world", "task", "workspace", "data", "expert", "place", "step")
    keys += ("masked_slots",)
    size, rows = recipe.network.vision.image_size, recipe.network.chunk_size
    description = {key: parts[key] for key in keys} | {"picture_size": size, "rows": rows}
    if recipe.scaffold:
        scaffold = recipe.scaffold
        description["scaffold"] = {"view": scaffold.view, "path_rows": scaffold.path_rows}
    return description


def _shapes(recipe: ArmRecipe) -> dict[str, tuple[tuple[int, ...], type]]:
    robot = load_robot(recipe.robot)
    columns = len(robot.layout(recipe.layout).columns)
    objects = len(load_world(recipe.world).objects)
    size, frames = recipe.network.vision.image_size, recipe.data.episodes * recipe.data.frames
    views = len(robot.camera_slots)
    shapes = {
        "pictures": ((frames, views, size, size, 3), np.uint8),
        "states": ((frames, columns), np.float32),
        "rows": ((frames, objects, recipe.network.chunk_size, columns), np.float32),
    }
    if recipe.scaffold:
        annotations = list_annotations(recipe.scaffold, objects, len(robot.end_effectors))
        shapes |= {key: ((frames, *shape), kind) for key, (shape, kind) in annotations.items()}
    return shapes


def _allocate(recipe: ArmRecipe, folder: Path) -> None:
    for key, (shape, kind) in _shapes(recipe).items():
        np.lib.format.open_memmap(folder / f"{key}.npy", "w+", kind, shape).flush()


def _work(recipe: ArmRecipe, seed: int, folder: Path, episodes: range, done) -> None:
    recorder = Recorder(recipe, seed)
    arrays = {key: np.load(folder / f"{key}.npy", mmap_mode="r+") for key in _shapes(recipe)}
    frames = recipe.data.frames
    for episode in episodes:
        for key, values in recorder.perform(episode).items():
            arrays[key][episode * frames : (episode + 1) * frames] = values
        done.put(episode)
    for array in arrays.values():
        array.flush()


def _await(tasks, done, count: int, report: Callable[[int, int], None]) -> None:
    finished = 0
    while finished < count:
        if any(task.exitcode for task in tasks):
            raise RuntimeError("a recording process died; its error is above")
        try:
            done.get(timeout=_WATCH)
        except queue.Empty:
            continue
        finished += 1
        report(finished, count)
    for task in tasks:
        task.join()
