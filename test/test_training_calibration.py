# SPDX-License-Identifier: Apache-2.0
"""A fresh network sees what differs between pictures; wide matrices move no faster than others."""

import pytest
import torch
from model_samples import SMALL, observation

from dm0_ros.model import DM0
from dm0_ros.training.calibration import centre_picture_tokens, parameter_groups


def differing_pictures(count=24):
    """The same bright background in every picture, a small dark square somewhere else in each."""
    images, *_ = observation(batch=1, views=1)
    pictures = (0.8 + 0.1 * images[0, :1]).repeat(count, 1, 1, 1)
    for index in range(count):
        row, column = divmod(index * 7 % 25, 5)
        pictures[index, :, row * 10 : row * 10 + 8, column * 10 : column * 10 + 8] = -1.0
    return pictures


def share_that_differs(model, pictures):
    with torch.no_grad():
        tokens = model.encode_pictures(pictures)
    return float(tokens.std(0).mean() / tokens.pow(2).mean().sqrt())


def test_what_differs_stands_out_after_centring():
    torch.manual_seed(0)
    model, pictures = DM0(SMALL), differing_pictures()
    before = share_that_differs(model, pictures)
    centre_picture_tokens(model, pictures)
    assert share_that_differs(model, pictures) > 1.5 * before
    with torch.no_grad():
        tokens = model.encode_pictures(pictures)
    assert float((tokens - tokens.mean((0, 1))).std()) == pytest.approx(1.0, rel=0.05)


def test_every_parameter_is_in_one_group_and_wide_ones_move_slowly():
    model = DM0(SMALL)
    groups = parameter_groups(model, rate=1.0, weight_decay=0.1)
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}
    assert len(grouped) == len(list(model.parameters()))
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    tower = model.model.mm_vision_tower["vision_tower"]
    wide, bias = tower.vit_downsampler2.weight, tower.vit_downsampler2.bias
    assert rates[id(wide)] == pytest.approx(96 / wide[0].numel())
    assert rates[id(bias)] == 1.0
    assert rates[id(model.model.llm.embed_tokens.weight)] == 1.0
