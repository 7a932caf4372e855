# SPDX-License-Identifier: Apache-2.0
"""The language stream against transformers' own Qwen3 with the same random weights."""

import torch
from model_samples import SMALL, small_model
from transformers import Qwen3Config, Qwen3Model

from dm0_ros.model.rotary import sequence_table


def test_trunk_equals_transformers():
    llm = SMALL.llm
    ours = small_model().model.llm
    theirs = Qwen3Model(
        Qwen3Config(
            vocab_size=llm.vocab_size,
            hidden_size=llm.hidden_size,
            intermediate_size=llm.intermediate_size,
            num_hidden_layers=llm.num_hidden_layers,
            num_attention_heads=llm.num_attention_heads,
            num_key_value_heads=llm.num_key_value_heads,
            head_dim=llm.head_dim,
            rope_parameters={"rope_type": "default", "rope_theta": llm.rope_theta},
            rms_norm_eps=llm.rms_norm_eps,
            attn_implementation="eager",
        )
    ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            if "norm" in name:
                weight.copy_(1 + 0.2 * torch.randn(weight.shape, generator=generator))
    theirs.load_state_dict(ours.state_dict())
    ids = torch.randint(0, llm.vocab_size, (2, 300), generator=generator)
    with torch.no_grad():
        expected = theirs(input_ids=ids, use_cache=True)
        rope = sequence_table(300, llm.head_dim, llm.rope_theta)
        layers, hidden = ours.encode(ours.embed_tokens(ids), rope, want_hidden=True)
    torch.testing.assert_close(hidden, expected.last_hidden_state, atol=2e-5, rtol=1e-5)
    for (key, value), cached in zip(layers, expected.past_key_values.layers, strict=True):
        torch.testing.assert_close(key, cached.keys, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(value, cached.values, atol=2e-5, rtol=1e-5)
