# SPDX-License-Identifier: Apache-2.0
"""One setting, so many views for so many robots, and every contender measured on it."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from support.contenders import Contender, Eager, Reference
from support.floor import Gpu, compute_floor_a, compute_floor_b
from support.judge import Judge
from support.profile import profile_call
from support.scenes import Scene, make_scenes
from support.turns import largest_difference, relative_error, take_turns, warm_up

from dm0_ros.model import DM0, DM0Config

MATRICES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp8": torch.bfloat16}
"""Of the network that a contender of this dtype is made from."""
INPUTS = 4
"""Batches of observations that take turns."""


@dataclass(frozen=True)
class Setting:
    """What is asked of every contender."""

    views: int
    batch: int
    text: int
    steps: int
    still: int = 0
    """Leading views that show the same every time."""

    @property
    def order(self) -> tuple[int, int, int]:
        """The greatest is that of one robot with all its views new, and the most of them."""
        return -self.batch, -self.still, self.views


@dataclass(frozen=True)
class Truth:
    """Inputs, and what the oracle answers to them: `Eager` in float32."""

    batches: list[list[Scene]]
    actions: list[np.ndarray]
    sight: float
    """How much the actions change, relative to their norm, when only the pictures do."""
    judge: Judge | None
    """Of what happens on the way; for a single robot."""


def ask_oracle(model: DM0, setting: Setting) -> Truth:
    """Inputs for that setting, and the answers of the float32 network `model`."""
    size = setting.views, setting.text, setting.batch
    batches = make_scenes(model.config, *size, count=INPUTS, still=setting.still)
    oracle = Eager(model, "fp32", setting.steps)
    actions = [oracle.run(scenes) for scenes in batches]
    other = [replace(a, frames=b.frames) for a, b in zip(*batches[:2], strict=True)]
    sight = relative_error([oracle.run(other)], actions[:1]) if setting.views else 0.0
    judge = Judge(oracle, batches) if setting.batch == 1 else None
    return Truth(batches, actions, sight, judge)


def measure(
    contenders: Sequence[Contender],
    truth: Truth,
    warm_ups: int,
    count: int,
    rounds: int,
    deadline: float,
    device: torch.device,
) -> list[dict]:
    """One entry a contender: times, errors, launches, memory; or why there are none."""
    entries, ready = [], []
    for contender in contenders:
        entry = {"name": contender.name, "dtype": contender.dtype}
        entries.append(entry)
        if time.perf_counter() > deadline:
            entry["refused"] = "no time was left"
            continue
        try:
            actions = _prepare(entry, contender, truth, warm_ups, device)
            ready.append((contender, entry, actions))
            note = f"{entry['prepare_s']} s, error {entry['error']:.1e}"
        except Exception as error:  # one that fails must not cost the others their time on a GPU
            entry["refused"] = f"{type(error).__name__}: {error}"
            entry["traceback"] = traceback.format_exc()
            note = entry["refused"]
        print(f"  {contender.name} {contender.dtype}: {note}", file=sys.stderr, flush=True)
    samples = take_turns([c for c, *_ in ready], truth.batches, count, rounds, deadline)
    for (_, entry, _), found in zip(ready, samples, strict=True):
        entry["ms"] = found.summarise()
    _compare(ready)
    return entries


def add_floors(entries: Sequence[dict], gpu: Gpu, config: DM0Config, setting: Setting) -> None:
    """Floors A and B beside every time, and the ratio to each; all views are taken for new."""
    if setting.still:
        return
    for entry in entries:
        if "ms" not in entry:
            continue
        asked = (config, setting.views, setting.text, setting.steps, setting.batch)
        floors = {
            "a": compute_floor_a(gpu, *asked, entry["dtype"]),
            "b": compute_floor_b(gpu, *asked, entry["dtype"]),
        }
        entry["floors_ms"] = {
            name: found and {stage: float(f"{value:.5g}") for stage, value in found.items()}
            for name, found in floors.items()
        }
        entry["ratio"] = {
            name: round(entry["ms"]["total"]["p50"] / found["total"], 3)
            for name, found in floors.items()
            if found
        }


def _prepare(
    entry: dict, contender: Contender, truth: Truth, warm_ups: int, device: torch.device
) -> list[np.ndarray]:
    """Warms it up, notes what it answers and launches, and gives its answers."""
    gpu = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if gpu else 0
    entry["prepare_s"] = round(warm_up(contender, truth.batches, warm_ups), 2)
    contender.run(truth.batches[-1])  # nothing of the first is left to be reused
    actions = [contender.run(scenes) for scenes in truth.batches]
    again = contender.run(truth.batches[0])
    entry["error"] = relative_error(actions, truth.actions)
    entry["largest_difference"] = largest_difference(actions, truth.actions)
    entry["repeatable"] = bool(np.array_equal(again, actions[0]))
    if truth.judge is not None and contender.name != Reference.name:
        entry["gate"] = truth.judge.judge(contender)
    entry["described"] = contender.describe()
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    entry["profile"] = profile_call(lambda: contender.run(truth.batches[1]), device)
    if gpu:
        entry["memory_mib"] = {
            "grown": (torch.cuda.memory_allocated(device) - before) >> 20,
            "peak": torch.cuda.max_memory_allocated(device) >> 20,
            "reserved": torch.cuda.memory_reserved(device) >> 20,
        }
    return actions


def _compare(ready: Sequence[tuple[Contender, dict, list[np.ndarray]]]) -> None:
    """The error of each to the readable network of its own dtype, and to the reference."""
    answers = {(c.name, c.dtype): actions for c, _, actions in ready}
    reference = next((actions for c, _, actions in ready if c.name == Reference.name), None)
    for contender, entry, actions in ready:
        dtype = "bf16" if contender.dtype == "fp8" else contender.dtype
        if reference is not None and contender.name != Reference.name:
            entry["error_to_reference"] = relative_error(actions, reference)
            entry["largest_difference_to_reference"] = largest_difference(actions, reference)
        eager = answers.get((Eager.name, dtype))
        if eager is not None and contender.name != Eager.name:
            entry["error_to_eager"] = relative_error(actions, eager)
