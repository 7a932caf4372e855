# SPDX-License-Identifier: Apache-2.0
"""Training of a policy that drives a base to what a sentence names: recipe, and the run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dm0_ros.navigation.pursuit import PursuitSettings
from dm0_ros.policy.normalisation import Normalisation
from dm0_ros.policy.pictures import PadColour
from dm0_ros.resources import find_resource
from dm0_ros.robots.parsing import load_yaml, read_yaml
from dm0_ros.training.driving_data import DrivingDataset, record_drives
from dm0_ros.training.recipe import NetworkSettings, OptimiserSettings, RecipeError
from dm0_ros.training.run import Progress, learn

_FEWEST_FRAMES = 100


@dataclass(frozen=True)
class DriveData:
    """Which poses the guide is asked about."""

    frames: int
    on_way: float  # share of the frames that lie along a way, the others lie anywhere
    at_end: float  # share of those along a way that lie at its end
    stray: float  # m, standard deviation of the distance from the way
    swerve: float  # rad, standard deviation of the heading from the way's
    clearance: float  # m that ways keep from obstacles, beside the base's radius
    reach: float  # m from the object at which ways end at the latest


@dataclass(frozen=True)
class DrivingRecipe:
    """One training run."""

    name: str
    robot: str
    layout: str
    world: str  # the house: file stem in config/worlds/
    task: str
    data: DriveData
    pursuit: PursuitSettings
    step: float  # s between rows
    normalisation: Normalisation
    max_text_tokens: int
    picture_pad: PadColour
    masked_slots: tuple[str, ...]
    network: NetworkSettings
    optimiser: OptimiserSettings
    executed_rows: int | None = None  # that a plan is followed for before the next one, at least
    initial: str | None = None  # checkpoint whose weights and tokenizer training starts from


def load_driving_recipe(name_or_path: str | Path) -> DrivingRecipe:
    """The recipe ``config/training/<name>.yaml``, or the YAML file at that path.

    Raises `RecipeError` that names the file and the key where something is wrong.
    """
    return load_yaml(DrivingRecipe, find_recipe(name_or_path), RecipeError)


def is_driving(name_or_path: str | Path) -> bool:
    """Whether a recipe is one for a base: it says how a way is pursued."""
    return "pursuit" in read_yaml(find_recipe(name_or_path), RecipeError)


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    return find_resource("config", f"training/{name_or_path}.yaml")


def scale_driving(recipe: DrivingRecipe, steps: int | None, frames: int | None) -> DrivingRecipe:
    """The recipe with other numbers of steps and frames, where given.

    Fewer steps alone also record fewer frames, in proportion: a trial run should be short.
    """
    if steps is not None:
        share = min(1.0, steps / recipe.optimiser.steps)
        recipe = replace(recipe, optimiser=replace(recipe.optimiser, steps=steps))
        frames = frames or max(_FEWEST_FRAMES, round(recipe.data.frames * share))
    if frames is not None:
        recipe = replace(recipe, data=replace(recipe.data, frames=frames))
    return recipe


def train_driving(
    recipe: DrivingRecipe,
    seed: int,
    folder: Path,
    workers: int,
    device: str,
    report: Callable[[Progress], None],
) -> Path:
    """Run the recipe in ``folder``; a second call goes on where the first stopped.

    Returns the folder of the finished checkpoint.
    """
    frames, data = recipe.data.frames, folder / "data"
    record_drives(recipe, seed, data, workers, lambda n: report(Progress("record", n, frames)))
    return learn(recipe, DrivingDataset(recipe, data), seed, folder, device, report)
