# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoint folders in the layout of the public ones, and ways to damage them."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from model_samples import SMALL, small_model
from safetensors.torch import load_file, save_file
from tokenizer_samples import write_tokenizer

from dm0_ros.policy.normalisation import compute_stats, save_stats

INDEX = "model.safetensors.index.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0a1b2c\nsize 4903218688\n"
DEAD_HEAD = "model.action_expert.lm_head.weight"


def write_public(
    folder: Path,
    shards: int = 1,
    progress: bool = False,
    spare_progress: bool = False,
    head: str | None = None,
    dtype: torch.dtype = torch.bfloat16,
    **changes: object,
) -> Path:
    """A checkpoint as it is published: config.json and weights, one file or shards.

    `spare_progress`: with the progress head, though config.json does not say so (a generalist).
    `head`: with lm_head.weight, "tied" to the embeddings (the base) or "own". `changes` are to
    the config of `model_samples`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = small_model(progress=progress or spare_progress, **changes)
    tensors = {name: value.to(dtype) for name, value in model.state_dict().items()}
    expert = model.config.expert
    tensors[DEAD_HEAD] = torch.randn(expert.vocab_size, expert.hidden_size).to(dtype)
    if head is not None:
        tensors["lm_head.weight"] = tensors["model.llm.embed_tokens.weight"].clone()
        if head == "own":
            tensors["lm_head.weight"][-1, -1] += 1
    sizes = model.config.to_dict()
    config = {
        "model_type": "dexbotic_dm0_prog" if progress else "dexbotic_dm0",
        "mm_vision_tower": "pe_test",
        **{key: sizes[key] for key in ("vision_config", "llm_config", "action_config")},
        **{key: sizes[key] for key in ("action_dim", "chunk_size")},
        "bf16": dtype == torch.bfloat16,
        "mm_hidden_size": 1152,
    }
    (folder / "config.json").write_text(json.dumps(config))
    write_weights(folder, tensors, shards)
    return folder


def write_runnable(folder: Path, **options: object) -> Path:
    """The same with a tokenizer, and statistics of seven columns: a pose and a gripper."""
    llm = replace(SMALL.llm, vocab_size=300)
    write_public(folder, llm=llm, action_dim=8, chunk_size=50, **options)
    write_tokenizer(folder)
    rows = np.random.default_rng(0).normal(size=(50, 7)) + np.arange(7)
    save_stats(compute_stats(rows, rows, width=8), folder)
    return folder


def write_weights(folder: Path, tensors: dict, shards: int = 1) -> None:
    """The tensors in one file, or in shards with their index."""
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, places = sorted(tensors), {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        save_file({name: tensors[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    content = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(content))


def edit_json(file: Path, change) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def edit_weights(file: Path, change) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def edit_header(file: Path, change) -> None:
    """Change what a safetensors file says of itself, and nothing else."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    text = change(header)
    text = json.dumps(header).encode() if text is None else text
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
