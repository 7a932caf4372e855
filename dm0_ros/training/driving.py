# SPDX-License-Identifier: Apache-2.0
"""What a guide who knows the house would do, seen through the base's camera.

Every frame is labelled with the guide's plan for every category: one picture then teaches what
each word means.
"""

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dm0_ros.navigation.guide import Guide
from dm0_ros.navigation.house import load_house
from dm0_ros.policy.pictures import prepare_picture
from dm0_ros.robots import load_robot
from dm0_ros.robots.layouts import BASE_COLUMNS
from dm0_ros.sim.house_scene import HouseCamera
from dm0_ros.training.dataset import Recording, to_pixels
from dm0_ros.training.recipe import DrivingRecipe

_SHARD = 250  # frames of a file; an interrupted recording loses one of each process


class DriveRecorder:
    """Makes frames one by one. The same seed and number give the same frame."""

    def __init__(self, recipe: DrivingRecipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        robot = load_robot(recipe.robot)
        self.house = load_house(recipe.world)
        (camera,) = robot.simulation.cameras.values()
        self._eye = camera.position[2]
        self._camera = HouseCamera(self.house, camera.width, camera.height, camera.field_of_view)
        data = recipe.data
        self.guide = Guide(self.house, robot.base.radius, data.clearance, data.reach, self._eye)

    def frame(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A picture (P, P, 3) uint8 as the network sees it, and plans (C, H, 3) float32."""
        random, recipe = np.random.default_rng([self.seed, number]), self.recipe
        pose = self._choose_pose(random)
        rows = recipe.network.chunk_size
        plans = self.guide.plan(pose, self.house.categories, rows, recipe.step, recipe.pursuit)
        view = self._camera.look((*pose[:2], self._eye), pose[2]).colour
        picture = prepare_picture(view, recipe.network.vision.image_size, recipe.picture_pad)
        return to_pixels(picture), plans.astype(np.float32)

    def _choose_pose(self, random: np.random.Generator) -> np.ndarray:
        data, near = self.recipe.data, self.guide.near
        while True:
            (place,) = near.sample(random, 1)
            if random.random() >= data.on_way:
                return np.array([*place, random.uniform(-np.pi, np.pi)])
            category = str(random.choice(self.house.categories))
            place, heading = self._stroll(place, category, random)
            place = place + random.normal(0.0, data.stray, 2)
            if near.is_free(place)[0]:
                return np.array([*place, heading + random.normal(0.0, data.swerve)])

    def _stroll(self, place, category: str, random) -> tuple[np.ndarray, float]:
        """Somewhere along the way from ``place`` to an object, and the heading there."""
        way = self.guide.way(place, category)
        lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
        if random.random() < self.recipe.data.at_end or lengths[-1] == 0:
            gap = self.guide.face(way[-1:], category) - way[-1]
            return way[-1], float(np.arctan2(gap[1], gap[0]))
        where = random.uniform(0.0, lengths[-1])
        place = np.array([np.interp(where, lengths, column) for column in way.T])
        gap = way[np.searchsorted(lengths, where)] - place
        return place, float(np.arctan2(gap[1], gap[0]))

    def close(self) -> None:
        """Free the camera."""
        self._camera.close()


def record_drives(
    recipe: DrivingRecipe,
    seed: int,
    folder: Path,
    workers: int,
    report: Callable[[int, int], None],
) -> None:
    """Record the recipe's frames into ``folder``, but for those that are there already.

    ``report`` is called with frames done and in all. A folder of another recipe or seed is
    recorded anew.
    """
    description = json.dumps({"seed": seed, **_describe(recipe)}, sort_keys=True)
    stamp = folder / "recording.json"
    if not stamp.exists() or stamp.read_text() != description:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("shard-*.npz"):
            old.unlink()
        stamp.write_text(description)
    firsts = range(0, recipe.data.frames, _SHARD)
    missing = [first for first in firsts if not _shard(folder, first).exists()]
    sizes = {first: min(_SHARD, recipe.data.frames - first) for first in firsts}
    done = recipe.data.frames - sum(sizes[first] for first in missing)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        shares = [missing[index::workers] for index in range(workers)]
        tasks = [pool.submit(_work, recipe, seed, folder, share) for share in shares if share]
        for task in as_completed(tasks):
            done += task.result()
            report(done, recipe.data.frames)


def _describe(recipe: DrivingRecipe) -> dict:
    parts = asdict(recipe)
    house = asdict(load_house(recipe.world))
    keys = ("robot", "layout", "data", "pursuit", "step", "picture_pad")
    size, rows = recipe.network.vision.image_size, recipe.network.chunk_size
    sizes = {"picture_size": size, "rows": rows}
    return {key: parts[key] for key in keys} | {"house": house} | sizes


def _shard(folder: Path, first: int) -> Path:
    return folder / f"shard-{first:06d}.npz"


def _work(recipe: DrivingRecipe, seed: int, folder: Path, firsts: list[int]) -> int:
    recorder, count = DriveRecorder(recipe, seed), 0
    for first in firsts:
        numbers = range(first, min(first + _SHARD, recipe.data.frames))
        frames = [recorder.frame(number) for number in numbers]
        pictures, rows = (np.stack(part) for part in zip(*frames, strict=True))
        unfinished = folder / f"unfinished-{first:06d}.npz"
        np.savez(unfinished, pictures=pictures, rows=rows)
        unfinished.rename(_shard(folder, first))
        count += len(frames)
    recorder.close()
    return count


def load_drives(recipe: DrivingRecipe, folder: Path) -> Recording:
    """What `record_drives` has left in ``folder``."""
    layout = load_robot(recipe.robot).layout(recipe.layout)
    house = load_house(recipe.world)
    shards = [np.load(_shard(folder, n)) for n in range(0, recipe.data.frames, _SHARD)]
    columns = [BASE_COLUMNS.index(name) for name in layout.columns]
    return Recording(
        np.concatenate([shard["pictures"] for shard in shards])[:, None],
        np.zeros((recipe.data.frames, 0)),  # a policy for a base sees pictures only
        np.concatenate([shard["rows"] for shard in shards])[..., columns],
        house.categories,
        house.instructions.training,
    )
