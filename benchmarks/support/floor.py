# SPDX-License-Identifier: Apache-2.0
"""How fast a DM0 of any size can be on a GPU: two floors, each from counted work.

Floor A is the roofline: every stage takes the longer of its arithmetic at the GPU's peak and its
bytes at the GPU's bandwidth. Floor B is what good kernels reach: the rates that the best published
ones have at these shapes, and a fixed cost for each kernel that waits for the one before it. The
model and the constants are those of facts/performance.md, 1.1 to 1.3. Where that text gives a
range of rates, its sums for H200 (9.3, 13.7, 18.1 ms) fix how a rate moves within it.
"""

from __future__ import annotations

from dataclasses import dataclass

from dm0_ros.model import DM0Config

BYTES = {"fp32": 4, "bf16": 2, "fp8": 1}
"""Of one weight. Attention, keys and values stay bf16 beside fp8 weights."""


@dataclass(frozen=True)
class Practice:
    """What the best known kernels reach on one GPU, bf16 (facts/performance.md, 1.3).

    A rate is `high - (high - low) / pictures`: the last, half empty wave of a kernel is shared by
    all pictures of a batch. FLOP/s; `boundary` in seconds.
    """

    linear: tuple[float, float] = (600e12, 700e12)
    attention: tuple[float, float] = (440e12, 476e12)
    boundary: float = 1.3e-6
    expert_kernels: int = 5
    layer_kernels: int = 6
    vision_fp8: float = 1.35
    language_fp8: float = 1.45

    def rates(self, pictures: int) -> tuple[float, float]:
        """Of matrix products and of attention, with that many pictures in one call."""
        linear, attention = (
            high - (high - low) / max(pictures, 1) for low, high in (self.linear, self.attention)
        )
        return linear, attention


@dataclass(frozen=True)
class Gpu:
    """Dense rates with fp32 accumulation in FLOP/s, and memory bandwidth in bytes/s."""

    name: str
    fp32: float
    bf16: float
    fp8: float
    bandwidth: float
    practice: Practice | None = None


# H200: bf16 and bandwidth measured (device KINDS page), fp32 by the datasheet, fp8 assumed; the
# others are nominal (facts/performance.md, 1.2).
GPUS = (
    Gpu("H200", 67e12, 790e12, 1450e12, 4.3e12, Practice()),
    Gpu("RTX 5090", 105e12, 209e12, 419e12, 1.79e12),
    Gpu("RTX 4090", 83e12, 165e12, 330e12, 1.0e12),
    Gpu("Thor", 8e12, 259e12, 517e12, 0.273e12),
)


@dataclass(frozen=True)
class Work:
    """One stage of one call: FLOP, parameters, and bytes beside them that must move each pass.

    `passes` is how often parameters and bytes are read; FLOP counts all passes together.
    """

    linear: float
    attention: float
    parameters: float
    other_bytes: float = 0.0
    passes: int = 1
    layers: int = 0


def count_work(
    config: DM0Config, views: int, text: int, steps: int, batch: int = 1, precision: str = "bf16"
) -> dict[str, Work]:
    """What each stage of one call has to do, for `batch` observations of `views` and `text`."""
    pictures, prefix = views * batch, config.vision.tokens * views + text
    keys = _key_bytes(config, precision)
    return {
        "vision": _vision(config, pictures),
        "convolutions": _convolutions(config, pictures),
        "projector": _projector(config, pictures),
        "prefix": _prefix(config, prefix, batch, keys),
        "flow": _flow(config, prefix, steps, batch, keys),
    }


def compute_floor_a(
    gpu: Gpu,
    config: DM0Config,
    views: int,
    text: int,
    steps: int,
    batch: int = 1,
    precision: str = "bf16",
) -> dict[str, float]:
    """Milliseconds by stage, and their `total`: the roofline."""
    work = count_work(config, views, text, steps, batch, precision)
    dense = gpu.fp32 if precision == "fp32" else gpu.bf16
    linear = {"fp32": gpu.fp32, "bf16": gpu.bf16, "fp8": gpu.fp8}[precision]
    times = {}
    for name, part in work.items():
        arithmetic = part.linear / linear + part.attention / dense
        times[name] = 1e3 * max(arithmetic, _seconds_to_move(part, gpu, precision))
    return {**times, "total": sum(times.values())}


def compute_floor_b(
    gpu: Gpu,
    config: DM0Config,
    views: int,
    text: int,
    steps: int,
    batch: int = 1,
    precision: str = "bf16",
) -> dict[str, float] | None:
    """Milliseconds by stage, and their `total`, with the rates of good kernels.

    None where nobody wrote down what good kernels reach: other GPUs, and float32.
    """
    practice = gpu.practice
    if practice is None or precision == "fp32":
        return None
    work = count_work(config, views, text, steps, batch, precision)
    linear, attention = practice.rates(views * batch)
    faster = {"vision": practice.vision_fp8, "prefix": practice.language_fp8}
    times = {}
    for name, part in work.items():
        gain = faster.get(name, 1.0) if precision == "fp8" else 1.0
        # The expert stays bf16 beside fp8 (performance.md, 5), as do convolutions and projector.
        kept = precision if name in faster else "bf16"
        kernels = practice.expert_kernels if name == "flow" else practice.layer_kernels
        if name in ("convolutions", "projector", "flow"):
            arithmetic = (part.linear + part.attention) / gpu.bf16
        else:
            arithmetic = part.linear / (linear * gain) + part.attention / attention
        waiting = part.passes * part.layers * kernels * practice.boundary
        times[name] = 1e3 * (max(arithmetic, _seconds_to_move(part, gpu, kept)) + waiting)
    return {**times, "total": sum(times.values())}


def compute_token_floor(
    gpu: Gpu, config: DM0Config, views: int, text: int, batch: int = 1, precision: str = "bf16"
) -> float:
    """Milliseconds to generate one more token behind that prefix: weights and keys, read once."""
    llm = config.llm
    prefix = config.vision.tokens * views + text
    parameters = llm.num_hidden_layers * _layer(llm) + llm.vocab_size * llm.hidden_size
    moved = parameters * BYTES[precision] + batch * prefix * _key_bytes(config, precision)
    return 1e3 * moved / gpu.bandwidth


def find_gpu(name: str) -> Gpu | None:
    """The GPU whose name is part of what the driver calls it, or None."""
    return next((gpu for gpu in GPUS if gpu.name.lower() in name.lower()), None)


def _seconds_to_move(part: Work, gpu: Gpu, precision: str) -> float:
    per_pass = part.parameters * BYTES[precision] + part.other_bytes
    return part.passes * per_pass / gpu.bandwidth


def _key_bytes(config: DM0Config, precision: str) -> int:
    """Bytes of all layers' keys and values of one position."""
    llm = config.llm
    size = 4 if precision == "fp32" else 2
    return llm.num_hidden_layers * 2 * llm.num_key_value_heads * llm.head_dim * size


def _layer(stream, whole: bool = True) -> int:
    """Parameters of one Qwen3 layer's matrices; not whole: of its keys and values alone."""
    heads = stream.num_attention_heads * stream.head_dim
    shared = stream.num_key_value_heads * stream.head_dim
    if not whole:
        return stream.hidden_size * 2 * shared
    mixing = stream.hidden_size * (2 * heads + 2 * shared)
    return mixing + 3 * stream.hidden_size * stream.intermediate_size


def _vision(config: DM0Config, pictures: int) -> Work:
    vision = config.vision
    width, patches = vision.width, vision.grid**2
    tokens, patch = patches + 1, 3 * vision.patch_size**2 * width
    layer = 4 * width * width + 2 * width * int(vision.mlp_ratio * width)
    return Work(
        linear=2 * pictures * (vision.layers * layer * tokens + patch * patches),
        attention=4 * pictures * tokens * tokens * width * vision.layers,
        parameters=vision.layers * layer + patch + tokens * width,
        layers=vision.layers,
    )


def _convolutions(config: DM0Config, pictures: int) -> Work:
    width, half = config.vision.width, (config.vision.grid + 1) // 2
    first, second = 9 * width * 2 * width, 9 * 2 * width * 4 * width
    positions = half**2, config.vision.tokens
    flops = 2 * pictures * (positions[0] * first + positions[1] * second)
    return Work(linear=flops, attention=0.0, parameters=first + second)


def _projector(config: DM0Config, pictures: int) -> Work:
    weights = 4 * config.vision.width * config.llm.hidden_size
    return Work(2 * pictures * config.vision.tokens * weights, 0.0, weights)


def _prefix(config: DM0Config, length: int, batch: int, key_bytes: int) -> Work:
    """Causal, so half of the scores; the last layer owes its keys and values alone."""
    llm, full = config.llm, config.llm.num_hidden_layers - 1
    parameters = full * _layer(llm) + _layer(llm, whole=False)
    return Work(
        linear=2 * batch * parameters * length,
        attention=2 * batch * length**2 * llm.num_attention_heads * llm.head_dim * full,
        parameters=parameters,
        other_bytes=batch * length * key_bytes,
        layers=llm.num_hidden_layers,
    )


def _flow(config: DM0Config, length: int, steps: int, batch: int, key_bytes: int) -> Work:
    """Every step reads the expert's matrices and all keys and values once."""
    expert, rows = config.expert, config.chunk_size + config.progress
    parameters = expert.num_hidden_layers * _layer(expert)
    width = expert.num_attention_heads * expert.head_dim
    keys = length + rows
    return Work(
        linear=2 * steps * batch * rows * parameters,
        attention=4 * steps * batch * rows * keys * width * expert.num_hidden_layers,
        parameters=parameters,
        other_bytes=batch * keys * key_bytes,
        passes=steps,
        layers=expert.num_hidden_layers,
    )
