# SPDX-License-Identifier: Apache-2.0
"""Loading a policy: each thing that can be wrong with a checkpoint is named."""

import json

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer

from dm0_ros.errors import CheckpointError, Dm0Error
from dm0_ros.policy.normalisation import compute_stats, load_stats, save_stats
from dm0_ros.policy.protocol import Observation
from dm0_ros.policy.registry import find_checkpoint, load_policy
from dm0_ros.robots import load_robot

ROBOT = load_robot("franka")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("norm_stats.json", "norm_stats.json is missing: .* copy it from"),
        ("policy.yaml", "policy.yaml is missing: .* Write one such as"),
        ("tokenizer.json", "has no tokenizer: tokenizer.json is missing"),
        ("config.json", "config.json is missing"),
        ("model.safetensors", "model.safetensors"),
    ],
)
def test_missing_file_is_named(tiny_checkpoint, name, message):
    (tiny_checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=message):
        load_policy(tiny_checkpoint, ROBOT)


def test_truncated_weights_are_named(tiny_checkpoint):
    path = tiny_checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model.safetensors is truncated"):
        load_policy(tiny_checkpoint, ROBOT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "model_type is 'llama'"),
        ({"action_dim": 9}, "at most 9 .action_dim in config.json."),
        ({"chunk_size": "many"}, "chunk_size"),
    ],
)
def test_config_of_another_network_is_named(tiny_checkpoint, change, message):
    path = tiny_checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=message):
        load_policy(tiny_checkpoint, ROBOT)


def test_broken_config_is_named(tiny_checkpoint):
    (tiny_checkpoint / "config.json").write_text('{"model_type": ')
    with pytest.raises(CheckpointError, match=r"config.json is not valid JSON"):
        load_policy(tiny_checkpoint, ROBOT)


def test_statistics_of_a_narrower_layout_are_refused(tiny_checkpoint):
    data = np.random.default_rng(0).normal(size=(50, 7))
    save_stats(compute_stats(data, data, width=12), tiny_checkpoint)
    with pytest.raises(CheckpointError, match="no action statistics for fr3_finger_joint1"):
        load_policy(tiny_checkpoint, ROBOT)


def test_tokenizer_larger_than_the_network_is_refused(tiny_checkpoint):
    raw = Tokenizer.from_file(str(tiny_checkpoint / "tokenizer.json"))
    raw.add_tokens([f"<extra_{number}>" for number in range(100)])
    raw.save(str(tiny_checkpoint / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="the tokenizer has 357 tokens, the network 300"):
        load_policy(tiny_checkpoint, ROBOT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "abacus"}, "device 'abacus' is unknown"),
        ({"dtype": "int8"}, "dtype 'int8' is unknown; write float32 or bfloat16"),
    ],
)
def test_unknown_options_are_named(tiny_checkpoint, options, message):
    with pytest.raises(Dm0Error, match=message):
        load_policy(tiny_checkpoint, ROBOT, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_missing_gpu_is_named(tiny_checkpoint):
    with pytest.raises(
        Dm0Error, match="device 'cuda': no CUDA GPU is usable here; use device cpu"
    ):
        load_policy(tiny_checkpoint, ROBOT, device="cuda")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "dm0-nan",
            "no public checkpoint 'dm0-nan'; .*list.* names, dm0-nano, .* come with the package",
        ),
        ("/nowhere/at/all", "there is no folder '/nowhere/at/all'"),
    ],
)
def test_unknown_checkpoint_lists_the_known_names(name, message):
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(name)


def test_z_scores_are_undone_with_mean_and_deviation(tiny_checkpoint):
    observation = Observation(
        dict.fromkeys(("left_hand", "right_hand"), np.zeros((56, 56, 3), np.uint8)),
        np.zeros(8),
        "touch the red block",
        stamp=0.0,
    )
    quantile = load_policy(tiny_checkpoint, ROBOT).infer(observation).values
    path = tiny_checkpoint / "policy.yaml"
    settings = yaml.safe_load(path.read_text()) | {"normalisation": "z_score"}
    path.write_text(yaml.safe_dump(settings))
    z_score = load_policy(tiny_checkpoint, ROBOT).infer(observation).values
    stats = load_stats(tiny_checkpoint, width=12).action
    low, high, mean, std = (v[:8] for v in (stats.low, stats.high, stats.mean, stats.std))
    numbers = 2 * (quantile - low) / (high - low + 1e-6) - 1
    np.testing.assert_allclose(z_score, numbers * (std + 1e-6) + mean, atol=1e-6)
