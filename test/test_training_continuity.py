# SPDX-License-Identifier: Apache-2.0
"""A run goes on with what it began with, or not at all."""

from dataclasses import replace

import numpy as np
import pytest
from hybrid_samples import tiny_recipe

from dm0_ros.policy.normalisation import compute_stats
from dm0_ros.training.continuity import check_settings, keep_stats
from dm0_ros.training.recipe import RecipeError
from dm0_ros.training.trainer import STATE


def draw_stats(seed=0, scale=1.0):
    random = np.random.default_rng(seed)
    rows, states = random.normal(0, scale, (2, 100, 8))
    return compute_stats(rows, states, 8)


@pytest.fixture
def begun(tmp_path):
    """A run that has made a first step."""
    check_settings(tmp_path, tiny_recipe(), 0)
    keep_stats(tmp_path, draw_stats(), leads=True)
    (tmp_path / STATE).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("recipe", "seed", "words"),
    [
        (tiny_recipe(), 1, "began with seed 0, not 1"),
        (tiny_recipe(batch=3), 0, r"began with optimiser\.batch 2, not 3"),
        (replace(tiny_recipe(), initial="dm0-nano"), 0, "began with initial None, not 'dm0-nano'"),
    ],
)
def test_another_run_is_refused_and_what_differs_is_named(begun, recipe, seed, words):
    before = (begun / "run.json").read_text()
    with pytest.raises(RecipeError, match=words):
        check_settings(begun, recipe, seed)
    assert (begun / "run.json").read_text() == before


def test_how_it_is_computed_and_how_long_may_change(begun):
    check_settings(begun, tiny_recipe(save_every=7, recompute=True, steps=41), 0)


def test_a_run_that_has_learnt_nothing_may_begin_anew(begun):
    (begun / STATE).unlink()
    check_settings(begun, tiny_recipe(), 1)
    assert keep_stats(begun, draw_stats(1), leads=True).action.mean[0] != 0
    (begun / STATE).touch()
    check_settings(begun, tiny_recipe(), 1)


def test_a_state_of_unknown_origin_is_refused(begun):
    (begun / "run.json").unlink()
    with pytest.raises(RecipeError, match="does not say what its training began with"):
        check_settings(begun, tiny_recipe(), 0)


def test_it_goes_on_with_the_statistics_that_it_began_with(begun):
    first = draw_stats()
    rounded = replace(first, action=replace(first.action, mean=first.action.mean * (1 + 1e-9)))
    kept = keep_stats(begun, rounded, leads=True)
    np.testing.assert_array_equal(kept.action.mean, first.action.mean)
    np.testing.assert_array_equal(kept.state.high, first.state.high)


@pytest.mark.parametrize("name", ["action", "state"])
def test_data_that_have_changed_are_refused(begun, name):
    changed = replace(draw_stats(), **{name: getattr(draw_stats(scale=1.01), name)})
    with pytest.raises(RecipeError, match=f"other statistics of the {name}"):
        keep_stats(begun, changed, leads=True)


def test_only_the_process_that_leads_writes(tmp_path):
    keep_stats(tmp_path, draw_stats(), leads=False)
    assert not list(tmp_path.iterdir())
