# SPDX-License-Identifier: Apache-2.0
"""DM0 as a policy: an observation through the network into a plan."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dm0_ros.engine import Committed, Engine, EngineOptions, FramePreparer, Request
from dm0_ros.errors import CheckpointError, Dm0Error, PlanError
from dm0_ros.model import DM0
from dm0_ros.model.config import DM0Config, read_config
from dm0_ros.model.guidance import Guidance
from dm0_ros.policy.actions import (
    clip_columns,
    decode_actions,
    encode_actions,
)
from dm0_ros.policy.normalisation import NormStats, load_stats
from dm0_ros.policy.observation import check_observation
from dm0_ros.policy.pictures import MEAN_AND_DEVIATION, PAD_LEVELS
from dm0_ros.policy.progress import ProgressTracker
from dm0_ros.policy.prompt import encode_prompt
from dm0_ros.policy.protocol import Latency, Observation, Plan, PolicySpec, Prefix
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


class Dm0Policy:
    """The `Policy` protocol over a DM0 checkpoint. Not thread-safe: one caller at a time."""

    def __init__(self, parts: Dm0Parts, seed: int = 0) -> None:
        """``seed`` of the noise that the flow starts from."""
        self._parts = parts
        self._engine = parts.engine
        self._seed = seed
        settings = parts.settings
        self.spec = PolicySpec(
            name=settings.name,
            camera_slots=settings.used_slots,
            state_names=parts.layout.state_columns,
            action_names=parts.layout.columns,
            space=parts.layout.space,
            horizon=self._engine.config.chunk_size,
            step=settings.step,
            needs_prefix=self._engine.options.guidance is not Guidance.NONE,
            executed_rows=settings.executed_rows,
        )
        # On the CPU, so that a seed means the same noise on every device.
        self._generator = torch.Generator("cpu")
        self._progress = ProgressTracker(self.spec.horizon, self.spec.step)
        self._ready_sizes: set[tuple] = set()
        self.reset()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        robot: RobotSpec,
        device: str = "cpu",
        dtype: str | None = None,
        options: EngineOptions | None = None,
        seed: int = 0,
        settings: PolicySettings | None = None,
    ) -> Dm0Policy:
        """Load a checkpoint folder for a robot; see `load_parts` for what is checked."""
        return cls(load_parts(path, robot, device, dtype, options, settings), seed)

    def reset(self) -> None:
        """Start a new task: progress 0, and the noise from its seed again."""
        self._generator.manual_seed(self._seed)
        self._progress.reset()
        self._engine.forget()

    def check_instruction(self, instruction: str) -> None:
        """Raise `InstructionError` where the instruction is empty or too long for the network."""
        encode_prompt(self._parts.tokenizer, instruction, self._parts.settings.max_text_tokens)

    def warm_up(self) -> Latency:
        """Prepare for every length of instruction, so that the first plan is as fast as the rest.

        The size of the cameras' pictures is not known yet: what depends on it is prepared by the
        first `infer`, while the arm still rests.
        """
        size = self._engine.config.vision.image_size
        limit, step = self._parts.settings.max_text_tokens, self._engine.text_bucket
        texts = range(step, limit + step, step) if step > 1 else [limit]
        self._prepare(((size, size),) * len(self.spec.camera_slots), texts)
        grey = np.full((size, size, 3), 127, np.uint8)
        plan = self.infer(
            Observation(
                pictures=dict.fromkeys(self.spec.camera_slots, grey),
                state=np.zeros(len(self.spec.state_names)),
                instruction="warm up",
                stamp=0.0,
            )
        )
        self.reset()
        return plan.latency

    def infer(self, observation: Observation, prefix: Prefix | None = None) -> Plan:
        """Plan for one observation, guided by ``prefix`` where `PolicySpec.needs_prefix`.

        The same observations after `reset` give the same plans. Raises `ObservationError`,
        `InstructionError`, or `PlanError` where the network's output is not finite.
        """
        begin = time.perf_counter()
        check_observation(observation, self.spec)
        progress = self._progress.update(observation.stamp)
        request = self._request(observation, progress, prefix)
        self._prepare(tuple(frame.shape[:2] for frame in request.frames), [1])
        result = self._engine.infer([request])[0]
        values = self._decode(result.actions, observation.state)
        if result.progress is not None:
            self._progress.predict(observation.stamp, progress, result.progress)
        return Plan(
            start=observation.stamp,
            step=self.spec.step,
            space=self.spec.space,
            names=self.spec.action_names,
            values=values,
            progress=math.nan if result.progress is None else progress,
            latency=self._latency(1e3 * (time.perf_counter() - begin)),
        )

    def _request(
        self, observation: Observation, progress: float, prefix: Prefix | None
    ) -> Request:
        parts, config = self._parts, self._engine.config
        ids, mask = encode_prompt(
            parts.tokenizer, observation.instruction, parts.settings.max_text_tokens
        )
        noise = torch.randn(config.chunk_size, config.action_dim, generator=self._generator)
        return Request(
            frames=tuple(observation.pictures[slot] for slot in self.spec.camera_slots),
            token_ids=ids[mask],
            noise=noise.numpy(),
            progress=progress if config.progress else None,
            committed=None if prefix is None else self._commit(prefix, observation.state),
        )

    def _commit(self, prefix: Prefix, state: np.ndarray) -> Committed:
        """The prefix in the network's space, as differences to the newest state."""
        parts = self._parts
        rows = encode_actions(
            prefix.rows, state, parts.layout, parts.stats, parts.settings.normalisation
        )
        return Committed(rows, prefix.delay, prefix.executed)

    def _prepare(self, sizes: tuple, texts: Sequence[int]) -> None:
        """Captures what depends on the sizes of pictures, on devices that capture."""
        if sizes not in self._ready_sizes:
            self._ready_sizes.add(sizes)
            if self._engine.device.type == "cuda":
                self._engine.warm_up(sizes, texts)

    def _latency(self, total: float) -> Latency:
        """What the network's stages took, and the rest of `total` ms as preparation."""
        timing = self._engine.timing
        prefix, flow = timing.vision + timing.prefix, timing.flow + timing.download
        return Latency(
            preprocessing=total - prefix - timing.reasoning - flow,
            prefix=prefix,
            reasoning=timing.reasoning,
            flow=flow,
        )

    def _decode(self, columns: np.ndarray, state: np.ndarray) -> np.ndarray:
        parts, names = self._parts, self.spec.action_names
        finite = np.isfinite(columns[:, : len(names)]).all(axis=0)
        if not finite.all():
            wrong = [name for name, good in zip(names, finite, strict=True) if not good]
            raise PlanError(
                f"{self.spec.name} gave NaN or infinite set-points for {', '.join(wrong)}; "
                "load it with dtype float32, and if that is no help, copy the checkpoint again"
            )
        settings = parts.settings
        values = decode_actions(
            columns, state, parts.layout, parts.stats, settings.normalisation, settings.gripper
        )
        return clip_columns(values, settings.clip) if settings.clip else values


def load_parts(
    path: str | Path,
    robot: RobotSpec,
    device: str = "cpu",
    dtype: str | None = None,
    options: EngineOptions | None = None,
    settings: PolicySettings | None = None,
) -> Dm0Parts:
    """Load what lies in a checkpoint folder. The weights come last: they may take minutes.

    ``dtype`` is float32, bfloat16, or None for what config.json says. ``settings`` stand in for
    the folder's policy.yaml, which public checkpoints lack. Raises `CheckpointError`
    where a file is missing or broken, or where network, tokenizer, statistics and the robot's
    layout and cameras do not fit; `Dm0Error` where the device or dtype does not exist.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give the one that holds config.json")
    target, precision = _choose_device(device), _choose_dtype(dtype)
    settings = settings or load_settings(folder)
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
    engine = Engine(model, options or EngineOptions(), preparer)
    return Dm0Parts(engine, tokenizer, stats, settings, layout)


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
