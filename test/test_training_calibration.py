# SPDX-License-Identifier: Apache-2.0
"""Where training starts: a fresh network sees what differs between pictures, wide matrices move no
faster than others, and another checkpoint's weights are taken over.
"""

import json
from dataclasses import replace

import pytest
import torch
from model_samples import SMALL, observation

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0
from dm0_ros.training.calibration import adopt_weights, centre_picture_tokens, parameter_groups
from dm0_ros.training.recipe import load_recipe
from dm0_ros.training.run import halve


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
    settings = replace(load_recipe("nano-franka").optimiser, learning_rate=1.0)
    groups = parameter_groups(model, settings)
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}
    assert len(grouped) == len(list(model.parameters()))
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    tower = model.model.mm_vision_tower["vision_tower"]
    wide, bias = tower.vit_downsampler2.weight, tower.vit_downsampler2.bias
    assert rates[id(wide)] == pytest.approx(96 / wide[0].numel())
    assert rates[id(bias)] == 1.0
    assert rates[id(model.model.llm.embed_tokens.weight)] == 1.0


def test_one_rate_for_all_weights_where_they_are_not_scaled():
    settings = replace(load_recipe("nano-franka").optimiser, scaled_rates=False)
    (group,) = parameter_groups(DM0(SMALL), settings)
    assert (group["lr"], group["share"], group["eps"]) == (settings.learning_rate, 1.0, 1e-8)
    assert group["weight_decay"] == settings.weight_decay


def test_weights_are_taken_over_but_for_the_columns_of_another_robot(tmp_path):
    torch.manual_seed(1)
    known = DM0(SMALL)
    known.save_pretrained(tmp_path)
    same, wider = DM0(SMALL), DM0(replace(SMALL, action_dim=SMALL.action_dim + 3))
    own = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    adopt_weights(same, tmp_path)
    adopt_weights(wider, tmp_path)
    for name, tensor in known.state_dict().items():
        assert torch.equal(same.state_dict()[name], tensor), name
        fits = own[name].shape == tensor.shape
        assert torch.equal(wider.state_dict()[name], tensor if fits else own[name]), name


def test_a_progress_head_is_new_where_there_is_none(tmp_path):
    known, able = DM0(SMALL), DM0(replace(SMALL, progress=True))
    own = {name: tensor.clone() for name, tensor in able.state_dict().items()}
    known.save_pretrained(tmp_path)
    adopt_weights(able, tmp_path)
    for name, tensor in able.state_dict().items():
        found = known.state_dict().get(name, own[name])
        assert torch.equal(tensor, found), name
    assert sum(name.startswith("model.progress_") for name in own) == 4


def test_a_progress_head_that_the_config_does_not_tell_of_is_taken_over(tmp_path):
    torch.manual_seed(1)
    known, able = (DM0(replace(SMALL, progress=True)) for _ in range(2))
    known.save_pretrained(tmp_path)
    able_config = json.loads((tmp_path / "config.json").read_text())
    DM0(SMALL).save_pretrained(tmp_path / "plain")
    plain_config = (tmp_path / "plain/config.json").read_text()
    assert json.loads(plain_config) != able_config
    (tmp_path / "config.json").write_text(plain_config)
    adopt_weights(able, tmp_path)
    for name, tensor in known.state_dict().items():
        assert torch.equal(able.state_dict()[name], tensor), name


def test_weights_of_another_size_are_refused_by_name(tmp_path):
    DM0(SMALL).save_pretrained(tmp_path)
    llm = replace(SMALL.llm, vocab_size=SMALL.llm.vocab_size + 8)
    with pytest.raises(Dm0Error, match=r"embed_tokens.*give it the same 'network'"):
        adopt_weights(DM0(replace(SMALL, llm=llm)), tmp_path)


def test_half_the_size_on_disk_is_nearly_the_same_network(tmp_path):
    torch.manual_seed(2)
    network = DM0(SMALL)
    network.save_pretrained(tmp_path / "whole")
    halve(network).save_pretrained(tmp_path / "half")
    sizes = [(tmp_path / n / "model.safetensors").stat().st_size for n in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    read = DM0.from_pretrained(tmp_path / "half").state_dict()
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == read[name].dtype == torch.float32
        torch.testing.assert_close(read[name], tensor, rtol=2**-8, atol=0.0)
