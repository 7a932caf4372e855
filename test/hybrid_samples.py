# SPDX-License-Identifier: Apache-2.0
"""Hybrid batches, recordings and trainers of small networks that the tests of training share."""

from dataclasses import replace

import numpy as np
import torch
from model_samples import chunk, observation

from dm0_ros.model import VisionConfig
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.scaffold.levels import Level
from dm0_ros.scaffold.settings import ScaffoldSettings
from dm0_ros.sim.world import load_world
from dm0_ros.training.dataset import Recording
from dm0_ros.training.hybrid_data import HybridDataset
from dm0_ros.training.losses import HybridBatch
from dm0_ros.training.recipe import HybridSettings, NetworkSettings, StreamSettings, load_recipe
from dm0_ros.training.trainer import Trainer
from dm0_ros.training.vocabulary import save_tokenizer, train_tokenizer

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


SCAFFOLD = ScaffoldSettings(
    "nano", tuple(Level), "right_hand", limit=150, path_rows=(1, 3), action_rows=(2,)
)
TEACHING = HybridSettings(
    shown={"none": 1.0, "subtask": 1.0, "box": 1.0, "action": 1.0}, stale=0.3, stale_frames=2
)
TINY = NetworkSettings(
    vision=VisionConfig(image_size=56, patch_size=14, width=32, layers=1, heads=2),
    llm=StreamSettings(vocab_size=600, hidden_size=32, intermediate_size=48),
    expert=StreamSettings(vocab_size=600, hidden_size=32, intermediate_size=48),
    layers=2,
    heads=2,
    key_value_heads=1,
    head_dim=16,
    rope_theta=10000.0,
    action_dim=8,
    chunk_size=5,
)


def tiny_recipe(**optimiser):
    """nano-franka with scaffolds, at the size of a test."""
    recipe = load_recipe("nano-franka")
    sizes = {"steps": 40, "batch": 2, "save_every": 20, "outline_rows": (), **optimiser}
    return replace(
        recipe,
        network=TINY,
        optimiser=replace(recipe.optimiser, **sizes),
        scaffold=SCAFFOLD,
        hybrid=TEACHING,
    )


def tiny_recording(recipe, episodes=6, frames=5):
    """Frames of noise with numbers that scaffolds could have."""
    random, count, objects = np.random.default_rng(0), episodes * frames, 3
    robot, world = load_robot(recipe.robot), load_world(recipe.world)
    columns = robot.layout(recipe.layout).columns
    size, rows = recipe.network.vision.image_size, recipe.network.chunk_size
    views = len(robot.camera_slots)
    annotations = {
        "boxes": np.sort(random.uniform(0, 336, (count, objects, 2, 2)), 2).reshape(
            -1, objects, 4
        ),
        "phases": random.integers(0, 2, (count, objects)).astype(np.uint8),
        "paths": random.uniform(0, 336, (count, objects, 1, 2, 2)),
    }
    # Objects and frames can be told apart by their plans.
    plans = random.normal(0, 0.3, (count, objects, 1, len(columns)))
    return Recording(
        random.integers(0, 256, (count, views, size, size, 3), np.uint8),
        random.normal(0, 0.1, (count, len(columns))).astype(np.float32),
        (plans * np.linspace(0, 1, rows)[:, None]).astype(np.float32),
        world.object_names,
        world.task(recipe.task).instructions.training,
        together=frames,
        annotations=annotations,
    )


def tiny_trainer(folder, recipe, processes=None):
    """A trainer in ``folder``, with a tokenizer of its own there."""
    dataset = HybridDataset(recipe, tiny_recording(recipe))
    stats = dataset.stats()
    if not (folder / "tokenizer.json").exists():
        size = recipe.network.llm.vocab_size
        save_tokenizer(train_tokenizer(dataset.sentences(), size, dataset.answers(stats)), folder)
    tokenizer = load_tokenizer(folder)
    return Trainer(recipe, dataset, tokenizer, stats, folder, seed=1, processes=processes)
