# SPDX-License-Identifier: Apache-2.0
"""Hybrid batches of a small network that the tests of training share."""

from dataclasses import replace

import torch
from model_samples import chunk, observation

from dm0_ros.training.losses import HybridBatch

CUE, STOP = 38, 39
PROMPT, ANSWERS = 4, (3, 5, 0, 2)


def hybrid_batch(queries=2, **changes):
    """Two observations of two views, `queries` texts each: prompts of 4 tokens, of the answers
    the third is empty, and its sample has actions alone; the last has text alone."""
    count = 2 * queries
    images, views, _, _ = observation()
    views[1, 0] = False
    generator = torch.Generator().manual_seed(5)
    longest = PROMPT + 1 + max(ANSWERS[:count]) + 1
    ids = torch.randint(1, CUE, (count, longest), generator=generator)
    mask, learnt = (torch.zeros(count, longest, dtype=torch.bool) for _ in range(2))
    for row, answer in enumerate(ANSWERS[:count]):
        end = PROMPT + 1 + answer if answer else PROMPT
        if answer:
            ids[row, PROMPT], ids[row, end] = CUE, STOP
            learnt[row, PROMPT + 1 : end + 1] = True
        mask[row, : end + bool(answer)] = True
    lengths = mask.sum(1)
    batch = HybridBatch(
        images=images,
        image_masks=views,
        token_ids=ids.masked_fill(~mask, 0),
        token_mask=mask,
        learnt=learnt,
        prompts=torch.full((count,), PROMPT),
        shown=lengths - learnt.any(1).long(),
        actions=chunk(count, seed=3),
        acted=torch.arange(count) != 3,
    )
    return replace(batch, **changes)


def noise_and_time(count=4, noises=None):
    """Noise (B, H, D) or (B, K, H, D) and times."""
    size = (count,) if noises is None else (count, noises)
    parts = [chunk(count, seed=20 + k) for k in range(noises or 1)]
    noise = parts[0] if noises is None else torch.stack(parts, 1)
    time = 0.05 + 0.9 * torch.rand(size, generator=torch.Generator().manual_seed(7))
    return noise, time
