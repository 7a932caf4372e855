# SPDX-License-Identifier: Apache-2.0
"""The weights of a DM0, rearranged once so that each call has less to do.

Everything here is exact up to rounding: gains of norms and LayerScale go into the matrices beside
them, matrices that read the same input are stacked, and all that depends on the Euler steps alone
is computed ahead. `fuse` leaves the network that it reads as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dm0_ros.engine.linear import Dense, Linear
from dm0_ros.model import DM0
from dm0_ros.model.flow import embed_time, euler_times
from dm0_ros.model.precision import rounds_rope
from dm0_ros.model.rotary import Rope, picture_table
from dm0_ros.model.transformer import Decoder, DecoderLayer
from dm0_ros.model.vision import VisionBlock, VisionTower


@dataclass(frozen=True)
class BlockWeights:
    """One block of the vision tower: LayerNorms and LayerScales folded in."""

    qkv: Linear  # (3 * width, width); queries and keys reordered, see `_neighbours_to_halves`
    out: Linear
    up: Linear
    down: Linear


@dataclass(frozen=True)
class VisionWeights:
    """The vision tower and the projector behind it."""

    patch: Linear  # (width, 3 * patch * patch), pixels in the order channel, row, column
    place: Tensor  # (1 + patches, width): positions; row 0 with the class token in it
    norm: tuple[Tensor, Tensor]
    blocks: tuple[BlockWeights, ...]
    rope: Rope  # (tokens, head width) each, for pairs half a head apart
    shrink: tuple[tuple[Tensor, Tensor], ...]  # two convolutions of stride 2
    project: Linear


@dataclass(frozen=True)
class LayerWeights:
    """One Qwen3 layer. The norms of the residual stream are folded into qkv and gate_up."""

    qkv: Linear  # (heads * d + 2 * kv * d, hidden): queries, keys, values
    query_norm: Tensor  # (d,)
    key_norm: Tensor  # (d,)
    out: Linear  # (hidden, heads * d)
    gate_up: Linear  # (2 * inner, hidden): gate, then up
    down: Linear  # (hidden, inner)
    heads: int  # of queries
    eps: float


@dataclass(frozen=True)
class PrefixWeights:
    """The language model."""

    embeddings: Tensor  # (vocabulary, hidden); also the head that text is read from
    layers: tuple[LayerWeights, ...]
    norm: Tensor  # (hidden,), of the output that text is read from
    eps: float


@dataclass(frozen=True)
class FlowWeights:
    """The action expert between the noisy actions and their velocity, all in float32 but layers.

    A token enters as `mix(silu(enter(row) + time))`; `time` holds a row for each Euler step, and
    `clean` is that of time 0, of rows that are no noise any more.
    """

    enter: Linear  # (hidden, D): action_in_proj and the action half of the time MLP in one
    time: Tensor  # (steps, hidden)
    clean: Tensor  # (hidden,)
    mix: Linear  # (hidden, hidden)
    layers: tuple[LayerWeights, ...]
    leave: Linear  # (D, hidden), final norm folded in
    eps: float
    enter_progress: Linear | None = None  # (hidden, 1): what differs from an action's row
    leave_progress: Linear | None = None  # (1, hidden)


@torch.no_grad()
def fuse_vision(model: DM0) -> VisionWeights:
    """The weights of the vision side, in the dtype that they have in `model`."""
    tower: VisionTower = model.model.mm_vision_tower["vision_tower"]
    config = tower.config
    dtype, device = tower.conv1.weight.dtype, tower.conv1.weight.device
    place = tower.positional_embedding.detach().clone()
    place[0] += tower.class_embedding
    head = config.width // config.heads
    halves = _neighbours_to_halves(head)
    rounded = rounds_rope(model.config.rounded_rope, dtype)
    cos, sin = (part[:, halves] for part in picture_table(config.grid, head, rounded))
    shrink = (tower.vit_downsampler1, tower.vit_downsampler2)
    return VisionWeights(
        patch=Dense(tower.conv1.weight.flatten(1)),
        place=place,
        norm=(tower.ln_pre.weight.detach(), tower.ln_pre.bias.detach()),
        blocks=tuple(_fuse_block(b, halves) for b in tower.transformer["resblocks"]),
        rope=(cos.to(device, dtype), sin.to(device, dtype)),
        shrink=tuple(
            (c.weight.detach().contiguous(memory_format=torch.channels_last), c.bias.detach())
            for c in shrink
        ),
        project=_dense(model.model.mm_projector),
    )


@torch.no_grad()
def fuse_prefix(model: DM0) -> PrefixWeights:
    """The weights of the language model."""
    llm = model.model.llm
    return PrefixWeights(
        embeddings=llm.embed_tokens.weight.detach(),
        layers=_fuse_layers(llm),
        norm=llm.norm.weight.detach(),
        eps=llm.norm.eps,
    )


@torch.no_grad()
def fuse_flow(model: DM0, steps: int) -> FlowWeights:
    """The weights of the action expert for an integration in so many Euler steps."""
    net, width = model.model, model.config.expert.hidden_size
    expert: Decoder = net.action_expert["model"]
    first = net.action_time_mlp_in
    from_action, from_time = (part.double() for part in first.weight.split(width, 1))
    enter = from_action @ net.action_in_proj.weight.double()
    moments = torch.cat((euler_times(steps), torch.zeros(1)))
    waves = embed_time(moments.to(model.device), width).to(first.weight.dtype)
    shared = from_action @ net.action_in_proj.bias.double()
    time = (waves.double() @ from_time.T + first.bias.double() + shared).float()
    gain = expert.norm.weight.double()
    weights = FlowWeights(
        enter=Dense(enter.float()),
        time=time[:-1],
        clean=time[-1],
        mix=_dense(net.action_time_mlp_out),
        layers=_fuse_layers(expert),
        leave=_after_gain(net.action_out_proj, gain),
        eps=expert.norm.eps,
    )
    if not model.config.progress:
        return weights
    coming = net.progress_in_proj
    # The rows of `time` hold the bias of an action's token; the progress token has another one.
    bias = from_action @ coming.bias.double() - shared
    return replace(
        weights,
        enter_progress=Dense((from_action @ coming.weight.double()).float(), bias.float()),
        leave_progress=_after_gain(net.progress_out_proj, gain),
    )


def _fuse_layers(decoder: Decoder) -> tuple[LayerWeights, ...]:
    return tuple(_fuse_layer(layer) for layer in decoder.layers)


def _fuse_layer(layer: DecoderLayer) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp
    dtype = layer.dtype

    def stack(norm: nn.Module, *parts: nn.Linear) -> Dense:
        weight = torch.cat([part.weight for part in parts]).float() * norm.weight.float()
        return Dense(weight.to(dtype))

    return LayerWeights(
        qkv=stack(layer.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj),
        query_norm=attention.q_norm.weight.detach(),
        key_norm=attention.k_norm.weight.detach(),
        out=_dense(attention.o_proj),
        gate_up=stack(layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj),
        down=_dense(mlp.down_proj),
        heads=attention.q_proj.out_features // attention.head_dim,
        eps=layer.input_layernorm.eps,
    )


def _fuse_block(block: VisionBlock, halves: Tensor) -> BlockWeights:
    attention, up, down = block.attn, block.mlp["c_fc"], block.mlp["c_proj"]
    size, heads = len(halves), attention.heads
    one_third = (torch.arange(heads)[:, None] * size + halves).flatten()
    width = heads * size
    order = torch.cat((one_third, width + one_third, torch.arange(2 * width, 3 * width)))
    order = order.to(attention.in_proj_weight.device)
    qkv, bias = attention.in_proj_weight[order], attention.in_proj_bias[order]
    return BlockWeights(
        qkv=_behind_norm(block.ln_1, qkv, bias),
        out=_before_gain(attention.out_proj, block.ls_1.gamma),
        up=_behind_norm(block.ln_2, up.weight, up.bias),
        down=_before_gain(down, block.ls_2.gamma),
    )


def _behind_norm(norm: nn.LayerNorm, weight: Tensor, bias: Tensor) -> Dense:
    """The linear map with the gain and the shift of the LayerNorm before it."""
    shifted = bias.float() + weight.float() @ norm.bias.float()
    return Dense((weight.float() * norm.weight.float()).to(weight.dtype), shifted.to(bias.dtype))


def _before_gain(linear: nn.Linear, gain: Tensor) -> Dense:
    """The linear map with a gain per output channel."""
    weight, bias = (
        linear.weight.float() * gain.float()[:, None],
        linear.bias.float() * gain.float(),
    )
    return Dense(weight.to(linear.weight.dtype), bias.to(linear.bias.dtype))


def _after_gain(linear: nn.Linear, gain: Tensor) -> Dense:
    """The linear map with a gain per input channel, (in,) float64."""
    return Dense((linear.weight.double() * gain).float(), linear.bias.float())


def _dense(linear: nn.Linear) -> Dense:
    bias = None if linear.bias is None else linear.bias.detach()
    return Dense(linear.weight.detach(), bias)


def _neighbours_to_halves(size: int) -> Tensor:
    """Order of a head's channels that brings rotary pairs (2i, 2i + 1) to (i, i + size / 2).

    Queries and keys reordered alike have the same products, and the fast network then turns
    vision and language in one way.
    """
    return torch.arange(size).view(-1, 2).T.flatten()
