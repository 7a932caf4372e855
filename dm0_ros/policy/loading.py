# SPDX-License-Identifier: Apache-2.0
"""What lies in a checkpoint folder, loaded and checked against each other and the robot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dm0_ros.engine import Engine, EngineOptions, FramePreparer
from dm0_ros.engine.options import GRAPH_BUCKET
from dm0_ros.errors import CheckpointError, Dm0Error
from dm0_ros.model import DM0
from dm0_ros.model.config import DM0Config, read_config
from dm0_ros.policy.normalisation import NormStats, load_stats
from dm0_ros.policy.pictures import MEAN_AND_DEVIATION, PAD_LEVELS
from dm0_ros.policy.prompt import encode_cue, find_stop
from dm0_ros.policy.reasoning import ReasoningMode, check_mode
from dm0_ros.policy.settings import PolicySettings, load_settings
from dm0_ros.policy.tokenizer import Tokenizer, load_tokenizer
from dm0_ros.robots.spec import Layout, RobotSpec

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Dm0Parts:
    """What a checkpoint folder holds, loaded and checked against each other and the robot."""

    engine: Engine
    tokenizer: Tokenizer
    stats: NormStats
    settings: PolicySettings
    layout: Layout
    arms: tuple[str, ...]  # the robot's end effectors


def load_parts(
    path: str | Path,
    robot: RobotSpec,
    device: str = "cpu",
    dtype: str | None = None,
    options: EngineOptions | None = None,
    settings: PolicySettings | None = None,
    mode: ReasoningMode = ReasoningMode.OFF,
) -> Dm0Parts:
    """Load what lies in a checkpoint folder. The weights come last: they may take minutes.

    ``dtype`` is float32, bfloat16, or None for what config.json says. ``settings`` stand in for
    the folder's policy.yaml, which public checkpoints lack. With a ``mode`` that reasons there is
    room for its text, too. Raises `CheckpointError`
    where a file is missing or broken, or where network, tokenizer, statistics and the robot's
    layout and cameras do not fit; `Dm0Error` where the device or dtype does not exist.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give the one that holds config.json")
    target, precision = _choose_device(device), _choose_dtype(dtype)
    settings = settings or load_settings(folder)
    check_mode(mode, settings)
    layout = settings.layout_of(robot)
    tokenizer = load_tokenizer(folder)
    config = read_config(folder)
    _check_sizes(folder, config, tokenizer, settings)
    stats = load_stats(folder, width=config.action_dim)
    _check_columns(folder, stats, layout, config.action_dim)
    model = DM0.from_pretrained(folder, dtype=precision, device=target, progress=settings.progress)
    preparer = FramePreparer(
        config.vision.image_size,
        PAD_LEVELS[settings.pad_colour],
        *MEAN_AND_DEVIATION[settings.pixel_scale],
    )
    options = options or EngineOptions()
    if mode is not ReasoningMode.OFF:
        options = _make_room(folder, options, tokenizer, settings)
    engine = Engine(model, options, preparer)
    arms = tuple(end.name for end in robot.end_effectors)
    return Dm0Parts(engine, tokenizer, stats, settings, layout, arms)


def _check_sizes(
    folder: Path, config: DM0Config, tokenizer: Tokenizer, settings: PolicySettings
) -> None:
    if tokenizer.size > config.llm.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.size} tokens, the network "
            f"{config.llm.vocab_size}; use the tokenizer that came with the checkpoint"
        )
    if (settings.executed_rows or 0) > config.chunk_size:
        raise CheckpointError(
            f"{settings.name}: executed_rows is {settings.executed_rows}, but a chunk of the "
            f"network has {config.chunk_size} rows; correct it in policy.yaml"
        )
    if settings.scaffold is not None:
        try:
            settings.scaffold.require_rows(config.chunk_size)
        except Dm0Error as flaw:
            raise CheckpointError(f"{settings.name}: policy.yaml: scaffold: {flaw}") from flaw


def _make_room(
    folder: Path, options: EngineOptions, tokenizer: Tokenizer, settings: PolicySettings
) -> EngineOptions:
    """Options under which the longest prompt, the cue and the longest text fit together."""
    try:
        find_stop(tokenizer)
    except CheckpointError as flaw:
        raise CheckpointError(f"{folder}: {flaw}") from flaw
    text = settings.max_text_tokens + len(encode_cue(tokenizer)) + settings.scaffold.limit
    step = options.text_bucket or GRAPH_BUCKET
    return replace(options, text_limit=max(options.text_limit, -(-text // step) * step))


def _check_columns(folder: Path, stats: NormStats, layout: Layout, width: int) -> None:
    if len(layout.columns) > width:
        raise CheckpointError(
            f"{folder}: the network has {width} action columns, the layout {len(layout.columns)} "
            f"({', '.join(layout.columns)}); correct layout in policy.yaml"
        )
    untrained = stats.action.untrained()[: len(layout.columns)]
    missing = [name for name, bad in zip(layout.columns, untrained, strict=True) if bad]
    if missing:
        raise CheckpointError(
            f"{folder}: norm_stats.json has no action statistics for {', '.join(missing)} "
            "(all zero); it belongs to another layout or checkpoint, or layout in policy.yaml "
            "is wrong"
        )


def _choose_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as cause:
        raise Dm0Error(f"device '{name}' is unknown; write cpu or cuda") from cause
    if device.type == "cuda" and not torch.cuda.is_available():
        raise Dm0Error(f"device '{name}': no CUDA GPU is usable here; use device cpu")
    return device


def _choose_dtype(name: str | None) -> torch.dtype | None:
    if name is None:
        return None
    if name not in _DTYPES:
        raise Dm0Error(f"dtype '{name}' is unknown; write {' or '.join(_DTYPES)}")
    return _DTYPES[name]
