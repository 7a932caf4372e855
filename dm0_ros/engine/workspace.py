# SPDX-License-Identifier: Apache-2.0
"""The buffers of one batch size: captured graphs read and write here, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dm0_ros.engine.cache import StaticCache
from dm0_ros.engine.intake import FrameIntake
from dm0_ros.engine.options import EngineOptions
from dm0_ros.engine.request import Committed, Request, Result
from dm0_ros.model import DM0Config
from dm0_ros.model.guidance import Commitment, weigh_rows
from dm0_ros.model.precision import rounds_rope
from dm0_ros.model.reasoning import Speech, Text
from dm0_ros.model.rotary import Rope, sequence_table


class Mirror:
    """A buffer on the host and its twin on the device; on a CPU they are one."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        pinned = device.type == "cuda"
        self._host = torch.zeros(shape, dtype=dtype, pin_memory=pinned)
        self.device = torch.zeros_like(self._host, device=device) if pinned else self._host
        self.host = self._host.numpy()

    def upload(self) -> None:
        """From the host; it must not change before the next wait for the device."""
        if self.device is not self._host:
            self.device.copy_(self._host, non_blocking=True)

    def download(self) -> None:
        """To the host, which has to wait for the device before it reads."""
        if self.device is not self._host:
            self._host.copy_(self.device, non_blocking=True)


@dataclass
class Workspace:
    """Buffers for B observations of V views. `C` rows of cache hold prefix and suffix."""

    intake: FrameIntake
    seen: Tensor  # (B, V * n, hidden), tokens of the pictures
    text: Mirror  # int64 (B, 1 + text_limit): number of valid rows of the prefix, then token ids
    flow: Mirror  # float32 (B, H * D + 1): noise, then progress
    committed: Mirror  # float32 (B, H * D + H + 1): rows, their weights, how many are certain
    answer: Mirror  # float32 (B, H * D + 1): actions, then the progress predicted
    token: Tensor  # (B,), read next
    next: Tensor  # (B,), what the network would say then
    chance: Mirror  # float32 (B, 2), what tokens are drawn by: see `draw_token`
    talking: Mirror  # int64 (B,), 1 where text is still being generated
    cache: StaticCache
    rope: Rope  # (C, d) each
    chunk: tuple[int, int]  # H, D

    @classmethod
    def allocate(
        cls,
        config: DM0Config,
        options: EngineOptions,
        batch: int,
        views: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> Workspace:
        llm, seen = config.llm, views * config.vision.tokens
        rows = seen + options.text_limit + config.chunk_size + 1
        rounded = rounds_rope(config.rounded_rope, dtype)
        rope = sequence_table(rows, llm.head_dim, llm.rope_theta, rounded)
        values = config.chunk_size * config.action_dim + 1
        return cls(
            intake=FrameIntake(device, options.reuse and batch == 1),
            seen=torch.zeros(batch, seen, llm.hidden_size, dtype=dtype, device=device),
            text=Mirror((batch, 1 + options.text_limit), torch.int64, device),
            flow=Mirror((batch, values), torch.float32, device),
            committed=Mirror((batch, values + config.chunk_size), torch.float32, device),
            answer=Mirror((batch, values), torch.float32, device),
            token=torch.zeros(batch, dtype=torch.int64, device=device),
            next=torch.zeros(batch, dtype=torch.int64, device=device),
            chance=Mirror((batch, 2), torch.float32, device),
            talking=Mirror((batch,), torch.int64, device),
            cache=StaticCache.allocate(
                llm.num_hidden_layers, batch, llm.num_key_value_heads, rows, llm.head_dim,
                dtype, device,
            ),
            rope=tuple(part.to(device, dtype) for part in rope),
            chunk=(config.chunk_size, config.action_dim),
        )  # fmt: skip

    def fill(self, requests: Sequence[Request], speech: Speech) -> None:
        """Text, noise and progress of the requests to the device."""
        for row, request in enumerate(requests):
            ids = request.token_ids
            if speech is not Speech.NONE:
                ids = np.concatenate((ids, request.cue_ids))
            count = len(ids)
            self.text.host[row, 0] = self.seen.shape[1] + count
            self.text.host[row, 1 : 1 + count] = ids
            self.text.host[row, 1 + count :] = 0
            self.flow.host[row, :-1] = request.noise.ravel()
            self.flow.host[row, -1] = 0.0 if request.progress is None else request.progress
            self._fill_committed(row, request.committed)
        self.text.upload()
        self.flow.upload()
        self.committed.upload()

    def _fill_committed(self, row: int, committed: Committed | None) -> None:
        host, (horizon, width) = self.committed.host[row], self.chunk
        host[:] = 0.0
        if committed is None:
            return
        rows = committed.rows[:horizon]
        host[: rows.size] = rows.ravel()
        weights = weigh_rows(horizon, committed.delay, committed.executed).numpy()
        weights[len(rows) :] = 0.0
        host[horizon * width : -1] = weights
        host[-1] = committed.delay

    @property
    def commitment(self) -> Commitment:
        """Of all observations; those without one have no weights and no certain rows."""
        values, (horizon, width) = self.committed.device, self.chunk
        return Commitment(
            rows=values[:, : horizon * width].unflatten(1, self.chunk),
            weights=values[:, horizon * width : -1],
            certain=values[:, -1],
        )

    def show(self, lengths: Sequence[int]) -> None:
        """Let the flow see so many tokens of each observation's text."""
        self.text.host[:, 0] = self.seen.shape[1] + np.array(lengths)
        self.text.upload()

    def chance_of(self, speech: Speech) -> Tensor | None:
        """(B, 2) where tokens are drawn."""
        return self.chance.device if speech is Speech.DRAWN else None

    def draw(self, chances: Sequence[float] | None, temperature: float) -> None:
        """What the next tokens are drawn by, if they are."""
        if chances is not None:
            self.chance.host[:, 0], self.chance.host[:, 1] = chances, temperature
            self.chance.upload()

    def clear(self) -> None:
        """Forgets all that was computed, lest a NaN in a masked row reach later answers."""
        self.intake.forget()
        self.cache.keys.zero_()
        self.cache.values.zero_()

    @property
    def lengths(self) -> Tensor:
        """Valid rows of each prefix, (B,)."""
        return self.text.device[:, 0]

    @property
    def noise(self) -> Tensor:
        """(B, H, D)."""
        return self.flow.device[:, :-1].unflatten(1, self.chunk)

    @property
    def progress(self) -> Tensor:
        """(B, 1)."""
        return self.flow.device[:, -1:]

    @property
    def reach(self) -> int:
        """Rows of the cache that prefix and generated text may take."""
        return self.cache.rows - self.chunk[0] - 1

    def put(self, actions: Tensor, progress: Tensor | None) -> None:
        """Keep (B, H, D) and (B, 1) as the answer."""
        self.answer.device[:, :-1] = actions.flatten(1)
        if progress is not None:
            self.answer.device[:, -1:] = progress

    def results(self, texts: Sequence[Text | None], with_progress: bool) -> list[Result]:
        """The answer, after it was downloaded, with the text that was generated."""
        return [
            Result(
                actions=np.array(row[:-1]).reshape(self.chunk),
                progress=float(row[-1]) if with_progress else None,
                text=text,
            )
            for row, text in zip(self.answer.host, texts, strict=True)
        ]
