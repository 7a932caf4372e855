# SPDX-License-Identifier: Apache-2.0
"""What is timed: the readable network, the fast one, the reference; from frames to actions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from support.scenes import Scene, to_tensors
from torch import Tensor

from dm0_ros.model import DM0

GREY, HALF = 127, (0.5, 0.5, 0.5)
"""How public checkpoints want pictures padded and scaled."""
REFERENCE_SLOTS = 3
"""Views that the reference computes, however many are there (facts: performance.md, 0.4)."""


@dataclass(frozen=True)
class Look:
    """What a contender makes of scenes on the way.

    Attributes:
        tokens: (B, V * n, hidden), of the pictures. keys_values: (2 * layers, B, kv heads, S, d),
            all keys of the prefix, then all values. actions: (B, H, D).
    """

    tokens: Tensor
    keys_values: Tensor
    actions: np.ndarray


class Contender(Protocol):
    """One way from uint8 frames in host memory to actions in host memory."""

    name: str
    dtype: str
    stages: dict[str, float]
    """ms of each stage of the last call."""

    def run(self, scenes: Sequence[Scene]) -> np.ndarray:
        """Actions of all robots, (B, H, D) float32."""

    def describe(self) -> dict:
        """What was chosen and why."""


class Eager:
    """`DM0` itself, with pictures resized on the CPU: the oracle, and the code before."""

    name = "eager"

    def __init__(self, model: DM0, dtype: str, steps: int) -> None:
        self.dtype = dtype
        self.stages: dict[str, float] = {}
        self._model = model
        self._steps = steps

    @torch.no_grad()
    def run(self, scenes: Sequence[Scene]) -> np.ndarray:
        model, device = self._model, self._model.device
        watch = _Watch(device)
        *inputs, noise = to_tensors(model.config, scenes)
        watch.mark("preprocessing")
        *inputs, noise = (tensor.to(device) for tensor in (*inputs, noise))
        watch.mark("upload")
        with _vision_marked(model, watch):
            cache = model.encode_prefix(*inputs)
        watch.mark("prefix")
        actions = model.integrate(cache, noise, self._steps)
        watch.mark("flow")
        answer = actions.cpu().numpy()
        watch.mark("download")
        self.stages = watch.stages
        return answer

    @torch.no_grad()
    def look(self, scenes: Sequence[Scene]) -> Look:
        """`run`, with what is seen and read on the way."""
        *inputs, _ = (t.to(self._model.device) for t in to_tensors(self._model.config, scenes))
        cache = self._model.encode_prefix(*inputs)
        keys, values = zip(*cache.layers, strict=True)
        return Look(
            tokens=self._model.encode_pictures(inputs[0].flatten(0, 1))
            .unflatten(0, (len(scenes), -1))
            .flatten(1, 2),
            keys_values=torch.stack((*keys, *values)),
            actions=self.run(scenes),
        )

    def describe(self) -> dict:
        return {}


class Fast:
    """The engine, by the options of one variant."""

    def __init__(self, engine, name: str, dtype: str) -> None:
        from dm0_ros.engine.request import Request

        self.name = name
        self.dtype = dtype
        self.engine = engine
        self.stages: dict[str, float] = {}
        self._request: Callable = Request

    def run(self, scenes: Sequence[Scene]) -> np.ndarray:
        requests = [self._request(scene.frames, scene.token_ids, scene.noise) for scene in scenes]
        results = self.engine.infer(requests)
        timing = self.engine.timing
        self.stages = {
            name: getattr(timing, name)
            for name in ("upload", "vision", "prefix", "flow", "download")
        }
        return np.stack([result.actions for result in results])

    def speak(self, scenes: Sequence[Scene], tokens: int) -> float:
        """ms per token of a text of so many, generated before the actions."""
        from dm0_ros.engine import Reasoning

        self.engine.infer(self._requests(scenes), Reasoning(tokens, frozenset()))
        return self.engine.timing.reasoning / tokens

    def look(self, scenes: Sequence[Scene]) -> Look:
        """`run`, with what is seen and read on the way."""
        actions = self.run(scenes)
        space = self.engine._space(len(scenes), len(scenes[0].frames))
        prefix = space.seen.shape[1] + len(scenes[0].token_ids)
        keys_values = torch.cat((space.cache.keys, space.cache.values))[:, :, :, :prefix]
        return Look(space.seen.clone(), keys_values, actions)

    def describe(self) -> dict:
        return self.engine.describe()

    def _requests(self, scenes: Sequence[Scene]) -> list:
        return [self._request(scene.frames, scene.token_ids, scene.noise) for scene in scenes]


def make_engine(model: DM0, text: int, changes: dict):
    """An engine with room for `text` tokens at least, its other options changed by `changes`."""
    from dm0_ros.engine.engine import Engine
    from dm0_ros.engine.frames import FramePreparer
    from dm0_ros.engine.options import GRAPH_BUCKET, EngineOptions

    room = -(-text // GRAPH_BUCKET) * GRAPH_BUCKET
    limit = max(EngineOptions().text_limit, room)
    options = EngineOptions(text_limit=limit, **changes)
    preparer = FramePreparer(model.config.vision.image_size, GREY, HALF, HALF)
    return Engine(model, options, preparer)


class Reference:
    """The published implementation, as it is served: pictures by PIL, three views always."""

    name = "reference"

    def __init__(self, path: str, model: DM0, dtype: str, steps: int) -> None:
        from support.reference import ReferenceModel

        self.dtype = dtype
        self.stages: dict[str, float] = {}
        self._config = model.config
        self._steps = steps
        self._model = ReferenceModel(path, model)

    def run(self, scenes: Sequence[Scene]) -> np.ndarray:
        watch = _Watch(self._model.device)
        inputs = to_tensors(self._config, scenes, REFERENCE_SLOTS)
        watch.mark("preprocessing")
        answer = self._model.sample(*inputs, steps=self._steps).float().cpu().numpy()
        watch.mark("network")
        self.stages = watch.stages
        return answer

    def describe(self) -> dict:
        from importlib.metadata import version

        return {"transformers": version("transformers"), "views": REFERENCE_SLOTS}


@dataclass
class _Watch:
    """Wall time of stages on the host, each ended by waiting for the device."""

    device: torch.device

    def __post_init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        """The stage ends now."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + 1e3 * (now - self._last)
        self._last = now


@contextmanager
def _vision_marked(model: DM0, watch: _Watch):
    """Ends the stage `vision` where the projector has run, inside `encode_prefix`."""
    hook = model.model.mm_projector.register_forward_hook(lambda *_: watch.mark("vision"))
    try:
        yield
    finally:
        hook.remove()
