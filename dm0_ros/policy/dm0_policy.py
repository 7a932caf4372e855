# SPDX-License-Identifier: Apache-2.0
"""DM0 as a policy: an observation through the network into a plan."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dm0_ros.engine import Committed, EngineOptions, Request
from dm0_ros.errors import PlanError
from dm0_ros.model.guidance import Guidance
from dm0_ros.policy.actions import (
    clip_columns,
    decode_actions,
    encode_actions,
    settle_grippers,
)
from dm0_ros.policy.answers import Answers
from dm0_ros.policy.loading import Dm0Parts, load_parts
from dm0_ros.policy.minds import Mind, Musing, Recalling, Silent, Speaking
from dm0_ros.policy.observation import check_observation
from dm0_ros.policy.progress import ProgressTracker
from dm0_ros.policy.prompt import clean_instruction, encode_prompt
from dm0_ros.policy.protocol import Latency, Observation, Plan, PolicySpec, Prefix, always
from dm0_ros.policy.reasoning import ReasoningMode, ReasoningOptions, Thought, check_mode
from dm0_ros.policy.settings import PolicySettings
from dm0_ros.robots.spec import RobotSpec


class Dm0Policy:
    """The `Policy` protocol over a DM0 checkpoint. Not thread-safe: one caller at a time."""

    def __init__(
        self, parts: Dm0Parts, seed: int = 0, reasoning: ReasoningOptions | None = None
    ) -> None:
        """``seed`` of the noise that the flow starts from, and of drawn text.

        Without ``reasoning`` no text is written. Raises `CheckpointError` where the checkpoint
        cannot reason as it is asked to.
        """
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
        self._answers: Answers | None = None
        self._mind: Mind = self._make_mind(reasoning or ReasoningOptions())
        self.reset()

    def _make_mind(self, options: ReasoningOptions) -> Mind:
        if check_mode(options.mode, self._parts.settings) is ReasoningMode.OFF:
            return Silent(self._engine)
        self._answers = Answers(self._parts, options, self._seed)
        if options.mode is ReasoningMode.EVERY_PLAN:
            return Speaking(self._engine, self._answers, options.listen)
        if options.memory is not None:
            return Recalling(self._engine, self._answers, options.memory)
        return Musing(self._engine, self._answers, self._make_request, options)

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
        reasoning: ReasoningOptions | None = None,
    ) -> Dm0Policy:
        """Load a checkpoint folder for a robot; see `load_parts` for what is checked."""
        reasoning = reasoning or ReasoningOptions()
        parts = load_parts(path, robot, device, dtype, options, settings, reasoning.mode)
        return cls(parts, seed, reasoning)

    def reset(self) -> None:
        """Start a new task: progress 0, no thoughts, and the noise from its seed again."""
        self._generator.manual_seed(self._seed)
        self._progress.reset()
        self._mind.reset()
        self._engine.forget()

    def skip(self) -> None:
        """Draw the noise of a plan that is not made, and count it."""
        self._draw_noise()
        self._mind.skip()

    def close(self) -> None:
        """End the thread that reasons, where there is one."""
        self._mind.close()

    def check_instruction(self, instruction: str) -> None:
        """Raise `InstructionError` where the instruction is empty or too long for the network."""
        self._encode(instruction)

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
        observation = Observation(
            pictures=dict.fromkeys(self.spec.camera_slots, grey),
            state=np.zeros(len(self.spec.state_names)),
            instruction="warm up",
            stamp=0.0,
        )
        self._mind.try_out(observation)
        plan = self._plan(observation, None)
        self.reset()
        return plan.latency

    def infer(
        self,
        observation: Observation,
        prefix: Prefix | None = None,
        wanted: Callable[[], bool] = always,
    ) -> Plan:
        """Plan for one observation, guided by ``prefix`` where `PolicySpec.needs_prefix`.

        A text that the plan waits for is given up as soon as the plan is not ``wanted``.
        The same observations after `reset` give the same plans. Raises `ObservationError`,
        `InstructionError`, or `PlanError` where the network's output is not finite.
        """
        plan = self._plan(observation, prefix, wanted)
        if wanted():  # else what was cut short would be told as the network's fault
            self._mind.note(observation, plan.thought)
        return plan

    def discrete_plan(self, thought: Thought) -> Plan:
        """The plan that the action tokens of a thought say, where the network's own will not do.

        Raises `PlanError` where the thought has none.
        """
        if thought.decoded is None:
            raise PlanError(
                f"{self.spec.name}: the text says no actions; reason as far as level action"
            )
        values, parts = thought.decoded, self._parts
        if parts.settings.gripper is not None:
            data = settle_grippers(
                parts.layout.to_data(values), parts.layout, parts.settings.gripper
            )
            values = parts.layout.from_data(data)
        latency = Latency(0.0, 0.0, thought.milliseconds, 0.0)
        return self._make_plan(thought.observed, self._clip(values), math.nan, latency, thought)

    def _plan(
        self,
        observation: Observation,
        prefix: Prefix | None,
        wanted: Callable[[], bool] = always,
    ) -> Plan:
        begin = time.perf_counter()
        check_observation(observation, self.spec)
        progress = self._progress.update(observation.stamp)
        request = self._request(observation, progress, prefix)
        self._prepare(tuple(frame.shape[:2] for frame in request.frames), [1])
        result, thought = self._mind.infer(request, observation, wanted)
        values = self._decode(result.actions, observation.state)
        if thought is not None and thought.decoded is not None:
            thought = self._check(thought, result.actions, observation)
        if result.progress is not None:
            self._progress.predict(observation.stamp, progress, result.progress)
        told = math.nan if result.progress is None else progress
        latency = self._latency(1e3 * (time.perf_counter() - begin))
        return self._make_plan(observation.stamp, values, told, latency, thought)

    def _make_plan(
        self,
        start: float,
        values: np.ndarray,
        progress: float,
        latency: Latency,
        thought: Thought | None,
    ) -> Plan:
        spec = self.spec
        names = spec.action_names
        return Plan(start, spec.step, spec.space, names, values, progress, latency, thought)

    def _check(self, thought: Thought, columns: np.ndarray, observation: Observation) -> Thought:
        """The thought with its distance from a plan (H, D) that was made with it."""
        late = (observation.stamp - thought.observed) / self.spec.step
        apart = self._answers.actions.compare(columns, observation.state, thought.decoded, late)
        return replace(thought, disagreement=apart)

    def _encode(self, instruction: str) -> np.ndarray:
        parts = self._parts
        asked = self._mind.ask(clean_instruction(instruction))
        ids, mask = encode_prompt(parts.tokenizer, asked, parts.settings.max_text_tokens)
        return ids[mask]

    def _make_request(self, observation: Observation) -> Request:
        """What the network reads of an observation, without noise, progress and past plans."""
        config = self._engine.config
        return Request(
            frames=tuple(observation.pictures[slot] for slot in self.spec.camera_slots),
            token_ids=self._encode(observation.instruction),
            noise=np.zeros((config.chunk_size, config.action_dim), np.float32),
            progress=0.0 if config.progress else None,
        )

    def _request(
        self, observation: Observation, progress: float, prefix: Prefix | None
    ) -> Request:
        config = self._engine.config
        request = self._make_request(observation)
        # Drawn when all is known to be fine: a refused observation must not change later plans.
        return replace(
            request,
            noise=self._draw_noise(),
            progress=progress if config.progress else None,
            committed=None if prefix is None else self._commit(prefix, observation.state),
        )

    def _draw_noise(self) -> np.ndarray:
        config = self._engine.config
        shape = config.chunk_size, config.action_dim
        return torch.randn(*shape, generator=self._generator).numpy()

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
                self._mind.warm_up(sizes, texts)

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
        return self._clip(values)

    def _clip(self, values: np.ndarray) -> np.ndarray:
        limits = self._parts.settings.clip
        return clip_columns(values, limits) if limits else values
