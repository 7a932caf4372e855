# SPDX-License-Identifier: Apache-2.0
"""Observations that look like a camera's: gradients, things with edges, grain. Never zeros.

The values that a GPU multiplies decide its clock: zeros made one 13 % too fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dm0_ros.model import DM0Config
from dm0_ros.policy.pictures import prepare_picture

HEIGHT, WIDTH = 480, 640


@dataclass(frozen=True)
class Scene:
    """What one robot sees, is told, and starts its flow from.

    Attributes:
        frames: per view (HEIGHT, WIDTH, 3) uint8. token_ids: (T,) int64. noise: (H, D) float32.
    """

    frames: tuple[np.ndarray, ...]
    token_ids: np.ndarray
    noise: np.ndarray


def make_scenes(
    config: DM0Config,
    views: int,
    text: int,
    batch: int,
    count: int = 4,
    seed: int = 0,
    still: int = 0,
) -> list[list[Scene]]:
    """`count` batches of different observations; no two share a picture, a text or noise.

    But the first `still` views of each robot show the same in all batches.
    """
    random = np.random.default_rng(seed)
    kept = [tuple(_make_frame(random) for _ in range(still)) for _ in range(batch)]
    return [
        [_make_scene(config, frames, views, text, random) for frames in kept] for _ in range(count)
    ]


def to_tensors(
    config: DM0Config, scenes: Sequence[Scene], slots: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Images, image masks, token ids, token mask and noise, as `DM0.sample_actions` takes them.

    Pictures are resized on the CPU, as the reference does; with `slots`, views that are not there
    are filled up with zeros and masked.
    """
    views = len(scenes[0].frames)
    side = config.vision.image_size
    images = np.zeros((len(scenes), max(views, slots), 3, side, side), np.float32)
    for row, scene in zip(images, scenes, strict=True):
        for view, frame in enumerate(scene.frames):
            row[view] = prepare_picture(frame, side)
    there = torch.zeros(images.shape[:2], dtype=torch.bool)
    there[:, :views] = True
    token_ids = torch.from_numpy(np.stack([scene.token_ids for scene in scenes]))
    noise = torch.from_numpy(np.stack([scene.noise for scene in scenes]))
    return (
        torch.from_numpy(images),
        there,
        token_ids,
        torch.ones_like(token_ids, dtype=torch.bool),
        noise,
    )


def _make_scene(
    config: DM0Config,
    kept: tuple[np.ndarray, ...],
    views: int,
    text: int,
    random: np.random.Generator,
) -> Scene:
    shape = config.chunk_size, config.action_dim
    return Scene(
        frames=(*kept, *(_make_frame(random) for _ in range(views - len(kept)))),
        token_ids=random.integers(1, config.llm.vocab_size, text),
        noise=random.standard_normal(shape, dtype=np.float32),
    )


def _make_frame(random: np.random.Generator) -> np.ndarray:
    coarse = Image.fromarray(random.integers(40, 200, (6, 8, 3), np.uint8))
    frame = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
    for _ in range(6):
        top, left = random.integers(0, HEIGHT - 60), random.integers(0, WIDTH - 60)
        height, width = random.integers(20, 160, 2)
        frame[top : top + height, left : left + width] = random.integers(0, 255, 3)
    frame += random.integers(-6, 7, frame.shape, np.int16)
    return frame.clip(0, 255).astype(np.uint8)
