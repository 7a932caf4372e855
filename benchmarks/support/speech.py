# SPDX-License-Identifier: Apache-2.0
"""How long each token of a generated text takes, behind pictures and a prompt."""

from __future__ import annotations

import time
from collections.abc import Sequence

from support.contenders import Contender, Fast
from support.floor import Gpu, compute_token_floor
from support.record import summarise
from support.scenes import Scene
from support.setting import Setting

from dm0_ros.model import DM0Config

WARM_UPS, TURNS = 2, 10


def measure_speech(
    contenders: Sequence[Contender],
    setting: Setting,
    batches: Sequence[Sequence[Scene]],
    tokens: int,
    gpu: Gpu,
    config: DM0Config,
    deadline: float,
) -> list[dict]:
    """One entry a fast contender: ms per token of a text of `tokens`, beside its floor.

    They take turns on the same inputs, as in `turns`.
    """
    fast = [contender for contender in contenders if isinstance(contender, Fast)]
    times: dict[int, list[float]] = {number: [] for number in range(len(fast))}
    refused: dict[int, str] = {}
    for turn in range(WARM_UPS + TURNS):
        for number, contender in enumerate(fast):
            if number in refused or time.perf_counter() > deadline:
                continue
            try:
                took = contender.speak(batches[turn % len(batches)], tokens)
            except Exception as error:  # must not cost the others their time on a GPU
                refused[number] = f"{type(error).__name__}: {error}"
                continue
            if turn >= WARM_UPS:
                times[number].append(took)
    entries = []
    for number, contender in enumerate(fast):
        # The floor of what is read behind half of the text.
        asked = config, setting.views, setting.text + tokens // 2, setting.batch
        floor = compute_token_floor(gpu, *asked, contender.dtype)
        entry = {"name": contender.name, "dtype": contender.dtype, "tokens": tokens}
        entry |= {"views": setting.views, "floor_ms": float(f"{floor:.5g}")}
        if number in refused:
            entry["refused"] = refused[number]
        entry["ms_per_token"] = found = summarise(times[number])
        if found["count"]:
            entry["ratio"] = round(found["p50"] / floor, 3)
        entries.append(entry)
    return entries
