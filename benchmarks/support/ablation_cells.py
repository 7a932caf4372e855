# SPDX-License-Identifier: Apache-2.0
"""The cells of the ablation: what each trains, and which sentences none of them hears."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dm0_ros.scaffold.levels import Level, first_levels
from dm0_ros.training.recipe import ArmRecipe, HybridSettings

_TRUNK_BATCH = 24  # frames; with half as many it did not learn in time which block is meant
_TRUNK_RATE = 0.002

# Words that sentences about an object never have in training, by its name. About other objects
# they do, and about this one there are other sentences: only the combination is new.
HELD_OUT = {
    "red": ("cube", "tap"),
    "green": ("touch", "reach"),
    "blue": ("move", "put", "one", "point"),
}


@dataclass(frozen=True)
class Cell:
    """What differs between two columns of the table: how much is said, and who learns from it."""

    name: str
    levels: tuple[Level, ...]
    decouple: bool = True


CELLS = (
    Cell("none", ()),
    *(Cell(level.value, first_levels(level.count)) for level in Level),
    Cell("trajectory_coupled", first_levels(3), decouple=False),
    Cell("action_coupled", first_levels(4), decouple=False),
)


def cell_recipe(base: ArmRecipe, cell: Cell) -> ArmRecipe:
    """The common recipe with as much of a scaffold as the cell has."""
    scaffold = replace(base.scaffold, levels=cell.levels) if cell.levels else None
    return replace(
        base,
        name=f"{base.name}-{cell.name}",
        scaffold=scaffold,
        hybrid=replace(base.hybrid, decouple=cell.decouple),
    )


def trunk_recipe(base: ArmRecipe, steps: int) -> ArmRecipe:
    """Of what all begins with: actions alone, which teach the trunk as well."""
    return replace(
        base,
        name=f"{base.name}-trunk",
        scaffold=None,
        hybrid=HybridSettings(decouple=False),
        optimiser=replace(
            base.optimiser, steps=steps, batch=_TRUNK_BATCH, learning_rate=_TRUNK_RATE
        ),
    )


def first_recipe(base: ArmRecipe, steps: int) -> ArmRecipe:
    """Of the stage after that: actions and answers to questions, no scaffolds."""
    return replace(
        base,
        name=f"{base.name}-first",
        scaffold=None,
        hybrid=HybridSettings(text_weight=base.hybrid.text_weight),
        optimiser=replace(base.optimiser, steps=steps),
    )


def is_held_out(wording: str, name: str) -> bool:
    """Whether training never asks for the object of that name in these words."""
    return bool(set(HELD_OUT.get(name, ())) & set(wording.split()))


def split_wordings(wordings: Sequence[str], name: str) -> tuple[list[str], list[str]]:
    """Wordings that are trained about an object, and those that are new about it."""
    seen = [wording for wording in wordings if not is_held_out(wording, name)]
    return seen, [wording for wording in wordings if wording not in seen]
