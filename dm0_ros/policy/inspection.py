# SPDX-License-Identifier: Apache-2.0
"""Everything that can be said of a checkpoint folder without reading its weights."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from dm0_ros.errors import CheckpointError
from dm0_ros.model import DM0
from dm0_ros.model.headers import is_pointer
from dm0_ros.model.size import PARTS
from dm0_ros.model.survey import Survey, survey
from dm0_ros.policy import normalisation, settings
from dm0_ros.policy.catalogue import load_catalogue
from dm0_ros.policy.normalisation import NormStats, VectorStats, load_stats
from dm0_ros.policy.registry import Checkpoint
from dm0_ros.policy.settings import PolicySettings
from dm0_ros.resources import list_resources
from dm0_ros.robots.loading import load_robot

UNUSED = "not used"
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))


@dataclass(frozen=True)
class Part:
    """The stored tensors of one part of the network."""

    name: str
    tensors: int
    parameters: int
    size: int  # bytes
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """The statistics of one column, in the unit of the checkpoint's data."""

    vector: str  # action or state
    name: str
    low: float  # 1 % quantile
    high: float  # 99 % quantile
    mean: float
    std: float


@dataclass(frozen=True)
class Inspection:
    """A checkpoint folder. It can be run where `problems` is empty and there are settings."""

    folder: Path
    network: dict[str, Any]  # the sizes that config.json gives
    files: dict[str, int]  # bytes of each file with weights
    parts: tuple[Part, ...]
    unused: tuple[str, ...]  # known tensors that nothing reads
    extra: tuple[str, ...]  # unknown tensors
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    settings: PolicySettings | None
    action_columns: tuple[str, ...]
    columns: tuple[Column, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def inspect_checkpoint(checkpoint: Checkpoint) -> Inspection:
    """Look at every file of a checkpoint; damage is named in `Inspection.problems`."""
    problems, remarks = [], []
    chosen = _find_settings(checkpoint, problems, remarks)
    found = survey(checkpoint.folder, DM0, None if chosen is None else chosen.progress)
    problems = [*found.problems, *problems]
    stats = _find_stats(found, chosen is not None, problems, remarks)
    _check_tokenizer(checkpoint.folder, problems)
    actions, states = _name_columns(checkpoint, chosen)
    columns = () if stats is None else _list_columns(stats, actions, states)
    if stats is not None and chosen is not None:
        untrained = stats.action.untrained()[: len(actions)]
        lost = [name for name, bad in zip(actions, untrained, strict=False) if bad]
        if lost:
            problems.append(f"norm_stats.json has no action statistics for {', '.join(lost)}")
        if found.config is not None and found.config.action_dim < len(actions):
            problems.append(
                f"the network has {found.config.action_dim} action columns, layout "
                f"{chosen.layout} has {len(actions)}"
            )
    return Inspection(
        folder=found.folder,
        network=_describe_network(found),
        files={header.file.name: header.size for header in found.headers},
        parts=tuple(_count_parts(found)),
        unused=found.unused,
        extra=found.extra,
        missing=found.missing,
        misshapen=found.misshapen,
        settings=chosen,
        action_columns=actions,
        columns=columns,
        problems=tuple(problems),
        remarks=(*found.remarks, *remarks),
    )


def _find_settings(
    checkpoint: Checkpoint, problems: list[str], remarks: list[str]
) -> PolicySettings | None:
    absent = checkpoint.entry is None and not (checkpoint.folder / settings.FILE_NAME).is_file()
    try:
        return checkpoint.load_settings()
    except CheckpointError as error:
        nowhere = absent or (checkpoint.entry is not None and checkpoint.entry.settings is None)
        told = str(error).splitlines()[0].replace(f"{checkpoint.folder}/", "")
        (remarks if nowhere else problems).append(told.removesuffix(" Write one such as"))
        return None


def _find_stats(
    found: Survey, needed: bool, problems: list[str], remarks: list[str]
) -> NormStats | None:
    path = found.folder / normalisation.FILE_NAME
    if path.is_file() and is_pointer(path):
        return None  # the survey has said so
    if not needed and not path.is_file():
        remarks.append(f"{path.name} is missing: it can be trained further, but not run")
        return None
    try:
        return load_stats(found.folder, 32 if found.config is None else found.config.action_dim)
    except CheckpointError as error:
        problems.append(str(error).replace(f"{found.folder}/", ""))
        return None


def _check_tokenizer(folder: Path, problems: list[str]) -> None:
    """The tokenizer's files are there and are JSON; whether they fit, loading will tell."""
    chosen = next((n for n in _TOKENIZERS if any((folder / name).is_file() for name in n)), None)
    if chosen is None:
        problems.append(
            "has no tokenizer: tokenizer.json, or vocab.json and merges.txt, is missing"
        )
        return
    for name in chosen:
        file = folder / name
        if not file.is_file():
            problems.append(f"{name} is missing, but {chosen[0]} is there; copy it")
        elif file.suffix == ".json" and not is_pointer(file):
            try:
                json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                problems.append(f"{name} is not valid JSON ({error}); copy it again")


def _name_columns(
    checkpoint: Checkpoint, chosen: PolicySettings | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of action and state columns: the robot's, or the table's where there is no robot."""
    known = list_resources("config", ".yaml")
    for robot in () if chosen is None else chosen.robots:
        if f"{robot}.yaml" in known:
            names = load_robot(robot).layout(chosen.layout).columns
            return names, names
    entry = checkpoint.entry or load_catalogue().get("" if chosen is None else chosen.name)
    return ((), ()) if entry is None else (entry.columns, entry.state_columns)


def _list_columns(
    stats: NormStats, actions: tuple[str, ...], states: tuple[str, ...]
) -> tuple[Column, ...]:
    columns = _list_vector("action", stats.action, actions)
    return columns if stats.state is None else columns + _list_vector("state", stats.state, states)


def _list_vector(kind: str, stats: VectorStats, names: tuple[str, ...]) -> tuple[Column, ...]:
    """Columns that have a name or were trained; those without a name go by their number."""
    rows = zip(stats.low, stats.high, stats.mean, stats.std, stats.untrained(), strict=True)
    return tuple(
        Column(kind, names[i] if i < len(names) else str(i), *map(float, numbers))
        for i, (*numbers, untrained) in enumerate(rows)
        if i < len(names) or not untrained
    )


def _describe_network(found: Survey) -> dict[str, Any]:
    config = found.config
    if config is None:
        return {}
    return {
        "progress": config.progress,
        "action_dim": config.action_dim,
        "chunk_size": config.chunk_size,
        "image_size": config.vision.image_size,
        "tokens_per_view": config.vision.tokens,
        "vision_layers": config.vision.layers,
        "layers": config.llm.num_hidden_layers,
        "llm_width": config.llm.hidden_size,
        "expert_width": config.expert.hidden_size,
        "vocabulary": config.llm.vocab_size,
        "dtype": "bfloat16" if config.bf16 else "float32",
    }


def _count_parts(found: Survey) -> list[Part]:
    spare = {*found.unused, *found.extra}
    groups: dict[str, list] = {name: [] for name, _ in PARTS} | {UNUSED: []}
    for tensor in found.stored.values():
        starts = (part for part, start in PARTS if tensor.name.startswith(start))
        part = UNUSED if tensor.name in spare else next(starts, UNUSED)
        groups[part].append(tensor)
    return [
        Part(
            name,
            len(group),
            sum(prod(tensor.shape) for tensor in group),
            sum(tensor.size for tensor in group),
            tuple(dtype for dtype, _ in Counter(tensor.dtype for tensor in group).most_common()),
        )
        for name, group in groups.items()
        if group
    ]
