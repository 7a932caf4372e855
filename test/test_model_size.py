# SPDX-License-Identifier: Apache-2.0
"""The full-size network has the parameters of the public checkpoints, without being built."""

import torch
from model_samples import SMALL, small_model

from dm0_ros.model import DM0, DM0Config
from dm0_ros.model.size import count_parameters

LLM = {
    "vocab_size": 152701,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rope_theta": 1000000,
    "rms_norm_eps": 1e-6,
}
EXPERT = {**LLM, "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 1536}
FULL = {
    "model_type": "dexbotic_dm0",
    "action_dim": 32,
    "chunk_size": 50,
    "mm_vision_tower": "pe_lang_l14_728",
    "mm_projector_type": "linear4x",
    "mm_hidden_size": 1152,
    "llm_config": LLM,
    "action_config": EXPERT,
}


def test_full_size_counts_are_exact():
    config = DM0Config.from_dict(FULL)
    assert config.bf16 and config.vision.tokens == 169
    assert count_parameters(config) == {
        "convolutions": 94_377_984,
        "vision": 293_135_360,
        "projector": 8_388_608,
        "llm": 1_722_141_696,
        "expert": 308_346_880,
        "action heads": 3_214_368,
        "progress heads": 0,
        "total": 2_429_604_896,
    }
    progress = DM0Config.from_dict({**FULL, "model_type": "dexbotic_dm0_prog"})
    assert count_parameters(progress)["progress heads"] == 3_073


def test_full_size_tensors_are_those_of_a_public_index():
    with torch.device("meta"):
        model = DM0(DM0Config.from_dict(FULL))
    # 960 in a specialist's index; the expert's dead head is not built here.
    assert len(model.state_dict()) == 959


def test_counts_of_a_built_model_and_of_its_config_agree():
    sizes = count_parameters(small_model())
    assert sizes == count_parameters(SMALL)
    assert sizes["total"] == sum(p.numel() for p in small_model().parameters())
