# SPDX-License-Identifier: Apache-2.0
"""How the kernels' work is cut up, and when they refuse it: all that needs no Triton."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dm0_ros.engine import kernels
from dm0_ros.engine.kernels import refusal
from dm0_ros.engine.kernels.tiles import Grids, LayerShape, choose_tiles
from dm0_ros.engine.linear import Dense
from dm0_ros.engine.weights import LayerWeights

FULL_SIZE = LayerShape(1, 50, 1024, 1536, 16, 8, 128, torch.bfloat16)
HOPPER = 132, 227 * 1024


def make_weights(width=32, hidden=64, inner=64, dtype=torch.bfloat16, **changes):
    def dense(rows, columns):
        return Dense(torch.zeros(rows, columns, dtype=dtype))

    fields = {
        "qkv": dense(8 * width, hidden),
        "query_norm": torch.ones(width),
        "key_norm": torch.ones(width),
        "out": dense(hidden, 4 * width),
        "gate_up": dense(2 * inner, hidden),
        "down": dense(hidden, inner),
        "heads": 4,
        "eps": 1e-6,
    }
    return LayerWeights(**(fields | changes))


def test_a_shape_is_read_off_the_weights():
    shape = LayerShape.of(make_weights(), 2, 51)
    assert shape == LayerShape(2, 51, 64, 64, 4, 2, 32, torch.bfloat16)
    assert (shape.tokens, shape.group) == (102, 2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 48}, "heads 48 wide"),
        ({"width": 16}, "heads 16 wide"),
        ({"inner": 40}, "inner 40"),
        ({"hidden": 72}, "hidden 72"),
        ({"dtype": torch.float64}, "float64"),
        ({"down": Dense(torch.zeros(64, 64))}, "one dtype"),
        ({"down": Dense(torch.zeros(64, 128, dtype=torch.bfloat16)[:, ::2])}, "contiguous"),
        ({"out": torch.nn.Identity()}, "plain matrices"),
        ({"out": Dense(torch.zeros(64, 128), torch.zeros(64))}, "without a bias"),
    ],
)
def test_weights_that_do_not_suit_are_refused(changes, reason):
    assert reason in refusal(make_weights(**changes))


def test_a_machine_that_does_not_suit_is_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    assert refusal(make_weights()) == "Triton is not installed"
    monkeypatch.setattr(kernels, "find_spec", lambda name: name)
    assert "not for cpu" in refusal(make_weights())
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert refusal(make_weights()) is None


def test_full_size_has_work_for_every_part_of_an_h200():
    tiles = choose_tiles(FULL_SIZE, *HOPPER)
    for grid in Grids.of(FULL_SIZE, tiles).all():
        assert 96 <= grid.programs <= HOPPER[0]
        assert grid.tile.rows <= 64


def test_many_robots_need_no_splits():
    shape = replace(FULL_SIZE, batch=8, count=51)
    for grid in Grids.of(shape, choose_tiles(shape, *HOPPER)).all():
        assert grid.tile.splits == 1
        assert grid.scratch == 0
        assert grid.programs >= HOPPER[0]


@given(
    batch=st.integers(1, 9),
    count=st.integers(1, 60),
    hidden=st.integers(1, 80),
    inner=st.integers(1, 120),
    shared=st.integers(1, 8),
    group=st.integers(1, 4),
    width=st.sampled_from((32, 64, 128, 256)),
    dtype=st.sampled_from((torch.bfloat16, torch.float16, torch.float32)),
    processors=st.integers(1, 200),
    shared_memory=st.sampled_from((64, 99, 163, 227)),
)
def test_tiles_fit_every_shape(
    batch, count, hidden, inner, shared, group, width, dtype, processors, shared_memory
):
    shape = LayerShape(batch, count, 16 * hidden, 16 * inner, group * shared, shared, width, dtype)
    tiles = choose_tiles(shape, processors, shared_memory * 1024)
    grids = Grids.of(shape, tiles)
    for grid in grids.all():
        tile = grid.tile
        assert min(tile.rows, tile.columns, tile.depth) >= 16
        assert tile.stages >= 1
        rows, splits, blocks = grid.axes
        assert rows * tile.rows >= grid.rows > (rows - 1) * tile.rows
        assert rows * splits * blocks == grid.programs
        assert splits == 1 or grid.programs <= processors
    assert grids.gate.axes[2] * tiles.gate.columns == shape.inner
    assert grids.out.axes[2] * tiles.out.columns == shape.hidden


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("down", {"splits": 64}),
        ("out", {"columns": 48}),
        ("gate", {"depth": 48}),
        ("heads", {"columns": 64}),
        ("attention", {"splits": 3}),
    ],
)
def test_tiles_that_do_not_divide_the_work_are_refused(name, changes):
    tiles = choose_tiles(FULL_SIZE, *HOPPER)
    tiles = replace(tiles, **{name: replace(getattr(tiles, name), **changes)})
    with pytest.raises(ValueError, match=name):
        Grids.of(FULL_SIZE, tiles)
