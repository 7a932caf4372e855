# SPDX-License-Identifier: Apache-2.0
"""The full-size network has the parameters of the public checkpoints, without being built.

DM0_PUBLIC_CHECKPOINT may name a folder with the config.json and the index of one.
"""

import json
import os
from pathlib import Path

import pytest
import torch
from model_samples import SMALL, small_model

from dm0_ros.model import DM0, DM0Config
from dm0_ros.model.checkpoint import FLOAT32
from dm0_ros.model.config import read_config
from dm0_ros.model.size import count_parameters
from dm0_ros.model.survey import UNUSED

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


# Every tensor of a public checkpoint (facts: dm0_model.md, B.1); {} counts layers or blocks.
DECODER = {
    "input_layernorm.weight": ("H",),
    "post_attention_layernorm.weight": ("H",),
    "self_attn.q_proj.weight": (2048, "H"),
    "self_attn.k_proj.weight": (1024, "H"),
    "self_attn.v_proj.weight": (1024, "H"),
    "self_attn.o_proj.weight": ("H", 2048),
    "self_attn.q_norm.weight": (128,),
    "self_attn.k_norm.weight": (128,),
    "mlp.gate_proj.weight": ("I", "H"),
    "mlp.up_proj.weight": ("I", "H"),
    "mlp.down_proj.weight": ("H", "I"),
}
BLOCK = {
    "attn.in_proj_weight": (3072, 1024),
    "attn.in_proj_bias": (3072,),
    "attn.out_proj.weight": (1024, 1024),
    "attn.out_proj.bias": (1024,),
    **{f"ln_{n}.{part}": (1024,) for n in (1, 2) for part in ("weight", "bias")},
    "ls_1.gamma": (1024,),
    "ls_2.gamma": (1024,),
    "mlp.c_fc.weight": (4096, 1024),
    "mlp.c_fc.bias": (4096,),
    "mlp.c_proj.weight": (1024, 4096),
    "mlp.c_proj.bias": (1024,),
}
TOWER = "model.mm_vision_tower.vision_tower"
SINGLE = {
    "model.llm.embed_tokens.weight": (152701, 2048),
    "model.llm.norm.weight": (2048,),
    "model.action_expert.model.norm.weight": (1024,),
    "model.mm_projector.weight": (2048, 4096),
    f"{TOWER}.class_embedding": (1024,),
    f"{TOWER}.positional_embedding": (2705, 1024),
    f"{TOWER}.conv1.weight": (1024, 3, 14, 14),
    f"{TOWER}.ln_pre.weight": (1024,),
    f"{TOWER}.ln_pre.bias": (1024,),
    f"{TOWER}.vit_downsampler1.weight": (2048, 1024, 3, 3),
    f"{TOWER}.vit_downsampler1.bias": (2048,),
    f"{TOWER}.vit_downsampler2.weight": (4096, 2048, 3, 3),
    f"{TOWER}.vit_downsampler2.bias": (4096,),
    "model.action_in_proj.weight": (1024, 32),
    "model.action_in_proj.bias": (1024,),
    "model.action_out_proj.weight": (32, 1024),
    "model.action_out_proj.bias": (32,),
    "model.action_time_mlp_in.weight": (1024, 2048),
    "model.action_time_mlp_in.bias": (1024,),
    "model.action_time_mlp_out.weight": (1024, 1024),
    "model.action_time_mlp_out.bias": (1024,),
}
PROGRESS_HEADS = {
    "model.progress_in_proj.weight": (1024, 1),
    "model.progress_in_proj.bias": (1024,),
    "model.progress_out_proj.weight": (1, 1024),
    "model.progress_out_proj.bias": (1,),
}
# On disk, used by nothing, and not built here.
DEAD = {"model.action_expert.lm_head.weight": (151936, 1024)}
FLOAT32_COUNT = 8 + 2 * 28 * 2 + 1  # heads, two norms in each layer of both streams, last norm


def public_tensors():
    """Names and shapes that a specialist has on disk, but for its dead head."""
    tensors = dict(SINGLE)
    for stream, hidden, inner in (("llm", 2048, 6144), ("action_expert.model", 1024, 1536)):
        for layer in range(28):
            for name, shape in DECODER.items():
                sizes = {"H": hidden, "I": inner}
                full = tuple(sizes.get(side, side) for side in shape)
                tensors[f"model.{stream}.layers.{layer}.{name}"] = full
    for block in range(23):
        for name, shape in BLOCK.items():
            tensors[f"{TOWER}.transformer.resblocks.{block}.{name}"] = shape
    return tensors


def built_tensors(values):
    with torch.device("meta"):
        state = DM0(DM0Config.from_dict(values)).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def bytes_on_disk(tensors):
    return 2 * sum(torch.Size(shape).numel() for shape in tensors.values())


def test_full_size_tensors_are_those_of_a_specialist():
    built = built_tensors(FULL)
    assert built == public_tensors()
    whole = {**built, **DEAD}
    assert len(whole) == 960
    assert bytes_on_disk(whole) == 5_170_374_720


def test_full_size_tensors_are_those_of_a_generalist():
    built = built_tensors({**FULL, "model_type": "dexbotic_dm0_prog"})
    assert built == {**public_tensors(), **PROGRESS_HEADS}
    whole = {**built, **DEAD}
    assert len(whole) == 964
    assert bytes_on_disk(whole) == 5_170_380_866


def test_what_is_not_built_is_known_to_be_unused():
    for name in (*DEAD, *PROGRESS_HEADS, "lm_head.weight"):
        assert UNUSED.fullmatch(name)
    assert not any(UNUSED.fullmatch(name) for name in public_tensors())


def test_float32_is_kept_where_the_reference_keeps_it():
    kept = [name for name in public_tensors() if FLOAT32.fullmatch(name)]
    assert len(kept) == FLOAT32_COUNT
    assert "model.llm.norm.weight" not in kept and "model.action_expert.model.norm.weight" in kept
    assert not any("vision" in name or "q_norm" in name for name in kept)
    assert all(FLOAT32.fullmatch(name) for name in PROGRESS_HEADS)


@pytest.mark.skipif(
    "DM0_PUBLIC_CHECKPOINT" not in os.environ,
    reason="needs side-files of a public checkpoint: set DM0_PUBLIC_CHECKPOINT to their folder",
)
def test_a_public_index_names_what_is_built():
    folder = Path(os.environ["DM0_PUBLIC_CHECKPOINT"])
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    config = read_config(folder)
    with torch.device("meta"):
        built = set(DM0(config).state_dict())
    stored = set(index["weight_map"])
    assert built <= stored
    assert all(UNUSED.fullmatch(name) for name in stored - built)
    assert config.vision == DM0Config.from_dict(FULL).vision
    assert index["metadata"]["total_size"] in (5_170_374_720, 5_170_380_866)


def test_counts_of_a_built_model_and_of_its_config_agree():
    sizes = count_parameters(small_model())
    assert sizes == count_parameters(SMALL)
    assert sizes["total"] == sum(p.numel() for p in small_model().parameters())
