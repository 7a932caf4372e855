# SPDX-License-Identifier: Apache-2.0
"""Rotary tables against their definition, exact and rounded, and the switch between them."""

import math
from dataclasses import replace

import pytest
import torch
from model_samples import SMALL, chunk, observation, small_model

from dm0_ros.errors import CheckpointError
from dm0_ros.model import DM0Config
from dm0_ros.model.rotary import (
    inverse_frequencies,
    picture_table,
    sequence_table,
    turn_halves,
    turn_neighbours,
)

SWITCHES = [None, True, False]


def rotate(x, pairs, angles):
    """Turns pairs of elements of x (d,) by angles (d/2,), one by one."""
    turned = x.clone().double()
    for (a, b), angle in zip(pairs, angles.double(), strict=True):
        cos, sin = math.cos(angle), math.sin(angle)
        turned[a] = x[a] * cos - x[b] * sin
        turned[b] = x[b] * cos + x[a] * sin
    return turned.float()


@pytest.mark.parametrize("rounded", [False, True])
def test_streams_turn_pairs_half_a_head_apart(rounded):
    x = torch.randn(600, 128, generator=torch.Generator().manual_seed(0))
    turned = turn_halves(x, sequence_table(600, 128, 1e6, rounded))
    rates = inverse_frequencies(128, 1e6, rounded)
    pairs = [(i, i + 64) for i in range(64)]
    for place in (0, 1, 599):
        expected = rotate(x[place], pairs, torch.tensor(float(place)) * rates)
        torch.testing.assert_close(turned[place], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rounded", [False, True])
def test_pictures_turn_by_column_then_by_row_counted_from_one(rounded):
    grid, width = 52, 64
    x = torch.randn(1 + grid * grid, width, generator=torch.Generator().manual_seed(0))
    turned = turn_neighbours(x, picture_table(grid, width, rounded))
    rates = torch.tensor([10_000 ** (-2 * i / 32) for i in range(16)])
    pairs = [(2 * i, 2 * i + 1) for i in range(32)]
    assert torch.equal(turned[0], x[0])  # the class token stays as it is
    for row, column in ((0, 0), (3, 51), (51, 17)):
        angles = torch.cat(((column + 1) * rates, (row + 1) * rates))
        angles = angles.bfloat16() if rounded else angles
        place = 1 + row * grid + column
        expected = rotate(x[place], pairs, angles)
        torch.testing.assert_close(turned[place], expected, atol=2e-5, rtol=0)


def test_rounded_values_are_off_by_what_was_measured():
    """facts/performance.md, 0.6: at position 756 up to 0.87 rad, in the tower up to 0.06."""
    rates = inverse_frequencies(128, 1e6), inverse_frequencies(128, 1e6, rounded=True)
    off = 756 * (rates[0] - rates[1]).abs()
    assert abs(float(off.max()) - 0.87) < 0.005 and int((off > 0.1).sum()) == 9
    cos = [picture_table(52, 64, rounded)[0] for rounded in (False, True)]
    assert 0.04 < float((cos[0] - cos[1]).abs().max()) < 0.065


def test_rounding_in_steps_rounds_each_product():
    x = torch.randn(40, 128, generator=torch.Generator().manual_seed(0)).bfloat16()
    rope = tuple(part.bfloat16() for part in sequence_table(40, 128, 1e6))
    products = x * rope[0], x.roll(64, -1) * rope[1]
    assert torch.equal(turn_halves(x, rope, in_steps=True), products[0] + products[1])
    once = (products[0].float() + x.roll(64, -1).float() * rope[1].float()).bfloat16()
    assert torch.equal(turn_halves(x, rope), once)
    assert not torch.equal(once, products[0] + products[1])


def with_tables(setting, dtype):
    model = small_model(rounded_rope=setting)
    return model.bfloat16() if dtype == torch.bfloat16 else model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_switch_decides_and_its_default_follows_the_dtype(dtype):
    inputs, noise = observation(), chunk()
    found = {
        setting: with_tables(setting, dtype).sample_actions(*inputs, noise=noise)
        for setting in SWITCHES
    }
    same, other = (True, False) if dtype == torch.bfloat16 else (False, True)
    assert torch.equal(found[None], found[same])
    assert not torch.equal(found[None], found[other])


@pytest.mark.parametrize("setting", [True, False])
def test_the_switch_reaches_tower_and_streams(setting):
    model = with_tables(setting, torch.float32)
    images, *rest = observation()
    with torch.no_grad():
        model.encode_prefix(images, *rest)
    tower = model.model.mm_vision_tower["vision_tower"]
    grid, llm = SMALL.vision.grid, SMALL.llm
    expected = picture_table(grid, SMALL.vision.width // SMALL.vision.heads, setting)
    assert torch.equal(tower._rope[0][:, 0, 0], expected[0])
    table = model.rope_table(10, images)
    assert torch.equal(
        table[0], sequence_table(len(table[0]), llm.head_dim, llm.rope_theta, setting)[0]
    )


@pytest.mark.parametrize("setting", SWITCHES)
def test_the_switch_is_written_and_read(setting):
    config = replace(SMALL, rounded_rope=setting)
    values = config.to_dict()
    assert ("rounded_rope" in values) == (setting is not None)
    assert DM0Config.from_dict(values) == config


def test_the_switch_takes_no_other_values():
    with pytest.raises(CheckpointError, match="rounded_rope must be true, false or null"):
        DM0Config.from_dict({**SMALL.to_dict(), "rounded_rope": "yes"})


def test_a_network_can_be_trained_after_it_was_used_in_inference_mode():
    model = small_model()
    inputs = observation()
    with torch.inference_mode():
        model.sample_actions(*inputs, noise=chunk())
    loss, _ = model.flow_loss(*inputs, chunk(), chunk(seed=2), torch.tensor([0.2, 0.7]))
    loss.backward()
    assert model.model.mm_vision_tower["vision_tower"].conv1.weight.grad.any()
