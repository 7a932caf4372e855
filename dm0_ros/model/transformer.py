# SPDX-License-Identifier: Apache-2.0
"""Qwen3 decoder layers, used by both streams of DM0: the language model and the action expert.

The prefix stream (pictures and text) runs causally and leaves its keys and values; the suffix
stream (actions) attends to them and to itself in both directions (facts: dm0_model.md, A.3-A.5).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dm0_ros.model.attention import attend, attend_in_steps
from dm0_ros.model.config import DecoderConfig
from dm0_ros.model.precision import rounds_each_step
from dm0_ros.model.recompute import run_layer
from dm0_ros.model.rotary import Rope, turn_halves

KeysValues = tuple[Tensor, Tensor]


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis; gives the dtype of its input."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.width = (width,)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if rounds_each_step(x):
            normed = F.rms_norm(x.float(), self.width, None, self.eps).to(x.dtype)
            return (normed * self.weight).to(x.dtype)
        return F.rms_norm(x, self.width, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Grouped-query attention with a norm per head on queries and keys."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        size, hidden = config.head_dim, config.hidden_size
        heads, shared = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = size
        self.q_proj = nn.Linear(hidden, heads * size, bias=False)
        self.k_proj = nn.Linear(hidden, shared * size, bias=False)
        self.v_proj = nn.Linear(hidden, shared * size, bias=False)
        self.o_proj = nn.Linear(heads * size, hidden, bias=False)
        self.q_norm = RMSNorm(size, config.rms_norm_eps)
        self.k_norm = RMSNorm(size, config.rms_norm_eps)

    def keys_values(self, h: Tensor, rope: Rope) -> KeysValues:
        """Turned keys and plain values of h (B, L, hidden), each (B, kv heads, L, d)."""
        key = self.k_norm(self.k_proj(h).unflatten(-1, (-1, self.head_dim))).transpose(1, 2)
        value = self.v_proj(h).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        return turn_halves(key, rope, rounds_each_step(key)), value

    def forward(
        self, h: Tensor, rope: Rope, past: KeysValues | None, mask: Tensor | None, causal: bool
    ) -> tuple[Tensor, KeysValues]:
        query = self.q_norm(self.q_proj(h).unflatten(-1, (-1, self.head_dim))).transpose(1, 2)
        own = key, value = self.keys_values(h, rope)
        if past is not None:
            key, value = torch.cat((past[0], key), 2), torch.cat((past[1], value), 2)
        in_steps = rounds_each_step(query)
        query = turn_halves(query, rope, in_steps)
        mix = attend_in_steps if in_steps else attend
        return self.o_proj(mix(query, key, value, mask, causal)), own


class GatedMLP(nn.Module):
    """SwiGLU feed-forward."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class DecoderLayer(nn.Module):
    """One pre-norm Qwen3 layer. The residual stream keeps its dtype whatever the matrices have."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = GatedMLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrices."""
        return self.mlp.up_proj.weight.dtype

    def keys_values(self, x: Tensor, rope: Rope) -> KeysValues:
        """Keys and values alone: all that a prefix's last layer owes to the suffix."""
        return self.self_attn.keys_values(self.input_layernorm(x).to(self.dtype), rope)

    def forward(
        self,
        x: Tensor,
        rope: Rope,
        past: KeysValues | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> tuple[Tensor, KeysValues]:
        """x (B, L, hidden) -> the same, and this layer's own keys and values.

        `past` keys and values come before the own ones. `mask` (broadcast to B, heads, L, keys)
        is True where a key may be seen; `causal` is for a pass without past or mask.
        """
        dtype = self.dtype
        mixed, own = self.self_attn(self.input_layernorm(x).to(dtype), rope, past, mask, causal)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x).to(dtype)), own


class Decoder(nn.Module):
    """A stack of layers with its final norm; with `embeddings`, the token table too."""

    def __init__(self, config: DecoderConfig, embeddings: bool) -> None:
        super().__init__()
        if embeddings:
            self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.recompute = False  # see `model.recompute`

    def encode(
        self, x: Tensor, rope: Rope, want_hidden: bool
    ) -> tuple[list[KeysValues], Tensor | None]:
        """Runs x (B, S, hidden) causally; keys and values of every layer, and the normed output.

        Padding must lie behind the valid tokens: causality alone then hides it from them. Without
        `want_hidden` the last layer is cut down to its keys and values.
        """
        kept = []
        for layer in self.layers[:-1]:
            x, own = run_layer(self.recompute, layer, x, rope, None, None, True)
            kept.append(own)
        last = self.layers[-1]
        if not want_hidden:
            return [*kept, last.keys_values(x, rope)], None
        x, own = run_layer(self.recompute, last, x, rope, None, None, True)
        return [*kept, own], self.norm(x)

    def attend(self, x: Tensor, rope: Rope, past: list[KeysValues], mask: Tensor | None) -> Tensor:
        """Runs x (B, L, hidden) with every token seeing the past and all of x; normed output."""
        for layer, keys_values in zip(self.layers, past, strict=True):
            x, _ = run_layer(self.recompute, layer, x, rope, keys_values, mask)
        return self.norm(x)
