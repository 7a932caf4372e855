# SPDX-License-Identifier: Apache-2.0
"""The vision tower against a plain one, written from its description, in both dtypes."""

import pytest
import torch
import torch.nn.functional as F
from model_samples import SMALL, chunk, observation, small_model

from dm0_ros.model.rotary import inverse_frequencies


def encode_plainly(model, pictures):
    """facts/dm0_model.md, A.1, for one picture after another and one operation at a time."""
    tower = model.model.mm_vision_tower["vision_tower"]
    size, grid = SMALL.vision.width // SMALL.vision.heads, SMALL.vision.grid
    dtype = tower.conv1.weight.dtype
    numbers = torch.arange(1, grid + 1).float()
    rates = inverse_frequencies(size // 2, 10_000.0)
    angles = torch.zeros(1 + grid * grid, size)
    for place in range(grid * grid):
        turns = torch.cat((numbers[place % grid] * rates, numbers[place // grid] * rates))
        angles[1 + place] = turns.repeat_interleave(2)
    angles = angles.to(dtype)
    outputs = []
    for picture in pictures.to(dtype):
        patches = F.conv2d(picture[None], tower.conv1.weight, stride=14)[0].flatten(1).T
        x = torch.cat((tower.class_embedding[None], patches)) + tower.positional_embedding
        x = tower.ln_pre(x)
        for block in tower.transformer["resblocks"]:
            packed = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
            query, key, value = (
                part.unflatten(-1, (-1, size)).transpose(0, 1) for part in packed.chunk(3, -1)
            )
            turned = []
            for part in (query, key):
                swapped = torch.stack((-part[..., 1::2], part[..., 0::2]), -1).flatten(-2)
                turned.append(part * angles.cos() + swapped * angles.sin())
            mixed = F.scaled_dot_product_attention(*(t[None] for t in (*turned, value)))
            out = block.attn.out_proj(mixed[0].transpose(0, 1).flatten(1))
            x = x + out * block.ls_1.gamma
            hidden = F.gelu(block.mlp["c_fc"](block.ln_2(x)), approximate="none")
            x = x + block.mlp["c_proj"](hidden) * block.ls_2.gamma
        x = x[1:].T.contiguous().unflatten(-1, (grid, grid))[None]
        for conv in (tower.vit_downsampler1, tower.vit_downsampler2):
            x = F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1)
        outputs.append(model.model.mm_projector(x[0].flatten(1).T))
    return torch.stack(outputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_tokens_are_those_of_the_plain_tower(dtype):
    model, (images, *_) = small_model().to(dtype), observation()
    found, expected = model.encode_pictures(images[:, 0]), encode_plainly(model, images[:, 0])
    assert found.dtype == dtype
    if dtype == torch.float32:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    else:  # the same roundings; a batch may be summed in another order
        off = (found.float() - expected.float()).norm() / expected.float().norm()
        assert off < 1e-4


@torch.no_grad()
def test_the_class_token_takes_part_and_is_dropped():
    model, (images, *_) = small_model(), observation()
    before = model.encode_pictures(images[:, 0])
    assert before.shape[1] == SMALL.vision.tokens
    model.model.mm_vision_tower["vision_tower"].class_embedding.mul_(-1)
    assert (model.encode_pictures(images[:, 0]) - before).abs().max() > 1e-4


@torch.no_grad()
def test_output_projections_are_called_as_modules():
    """So that what is wrapped around them, such as an adapter, is not passed by."""
    model, called = small_model(), []
    for block in model.model.mm_vision_tower["vision_tower"].transformer["resblocks"]:
        block.attn.out_proj.register_forward_hook(lambda *_: called.append(1))
    model.encode_pictures(observation()[0][:, 0])
    assert len(called) == SMALL.vision.layers


def test_masked_views_are_never_encoded(monkeypatch):
    model, counts = small_model(), []
    encode = model.encode_pictures

    def count(pictures):
        counts.append(len(pictures))
        return encode(pictures)

    monkeypatch.setattr(model, "encode_pictures", count)
    images, views, ids, mask = observation(batch=2, views=3)
    views[0, 1:] = False
    model.sample_actions(images, views, ids, mask, noise=chunk())
    model.sample_actions(images, views & False, ids, mask, noise=chunk())
    assert counts == [4]


@pytest.mark.parametrize("views", [1, 2, 3, 5])
def test_any_number_of_views_is_read_in_its_order(views):
    model, (images, there, ids, mask) = small_model(), observation(batch=1, views=views)
    with torch.no_grad():
        cache = model.encode_prefix(images, there, ids, mask)
        assert cache.lengths.tolist() == [views * SMALL.vision.tokens + ids.shape[1]]
        one = model.encode_prefix(images[:, :1], there[:, :1], ids, mask)
    tokens = SMALL.vision.tokens
    first = [part.layers[1][0][:, :, :tokens] for part in (one, cache)]
    torch.testing.assert_close(*first)


def test_a_hole_between_views_is_no_hole_in_positions():
    model, (images, views, ids, mask) = small_model(), observation(batch=1, views=3)
    views[0, 1] = False
    noise = chunk(batch=1)
    holed = model.sample_actions(images, views, ids, mask, noise=noise)
    kept = images[:, [0, 2]], views[:, [0, 2]], ids, mask
    torch.testing.assert_close(holed, model.sample_actions(*kept, noise=noise))
