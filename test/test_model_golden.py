# SPDX-License-Identifier: Apache-2.0
"""The network against outputs of the reference implementation (test/data/golden/README.md)."""

import pytest
import torch
from model_samples import GOLDEN
from safetensors.torch import load_file

from dm0_ros.model import DM0

# The reference's networks have a random head for text, which nothing here compares.
pytestmark = pytest.mark.filterwarnings("ignore:.*lm_head.weight is not equal:UserWarning")

TOLERANCE = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(scope="module", params=["dm0_tiny_direct", "dm0_tiny_progress"])
def case(request):
    folder = GOLDEN / request.param
    return DM0.from_pretrained(folder), load_file(folder / "golden.safetensors")


def observation(golden):
    names = ("images", "image_masks", "input_ids", "attention_mask")
    return tuple(golden[name] for name in names)


def test_picture_tokens_agree(case):
    model, golden = case
    with torch.no_grad():
        tokens = model.encode_pictures(golden["images"][:, 0])
    torch.testing.assert_close(tokens, golden["vision_tokens_view0"], **TOLERANCE)


def test_sampled_actions_and_progress_agree(case):
    model, golden = case
    progress = golden.get("progress")
    out = model.sample_actions(*observation(golden), noise=golden["noise"], progress=progress)
    actions = out
    if progress is not None:
        actions, ended = out
        torch.testing.assert_close(ended, golden["progress_out"], **TOLERANCE)
    torch.testing.assert_close(actions, golden["actions"], **TOLERANCE)


def test_each_sample_alone_agrees(case):
    model, golden = case
    progress = golden.get("progress")
    for index in range(len(golden["noise"])):
        one = slice(index, index + 1)
        out = model.sample_actions(
            *(part[one] for part in observation(golden)),
            noise=golden["noise"][one],
            progress=None if progress is None else progress[one],
        )
        actions = out if progress is None else out[0]
        torch.testing.assert_close(actions, golden["actions"][one], **TOLERANCE)


def test_training_velocity_and_loss_agree():
    folder = GOLDEN / "dm0_tiny_direct"
    model, golden = DM0.from_pretrained(folder), load_file(folder / "golden.safetensors")
    inputs = (golden[f"train_{name}"] for name in ("actions", "noise", "time"))
    loss, velocity = model.flow_loss(*observation(golden), *inputs)
    torch.testing.assert_close(velocity, golden["train_velocity"], **TOLERANCE)
    torch.testing.assert_close(loss, golden["train_loss"][0], **TOLERANCE)


@pytest.mark.parametrize("name", ["dm0_tiny_direct", "dm0_tiny_progress"])
def test_bfloat16_stays_near_float32(name):
    folder = GOLDEN / name
    model, golden = (
        DM0.from_pretrained(folder, torch.bfloat16),
        load_file(folder / "golden.safetensors"),
    )
    assert model.model.action_in_proj.weight.dtype == torch.float32
    assert model.model.llm.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    actions = model.sample_actions(*observation(golden), noise=golden["noise"])
    plain = DM0.from_pretrained(folder).sample_actions(*observation(golden), noise=golden["noise"])
    assert actions.dtype == torch.float32
    assert (actions - plain).norm() / plain.norm() < 0.03
