# SPDX-License-Identifier: Apache-2.0
"""Statistics: formulas, files, and what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dm0_ros.errors import CheckpointError
from dm0_ros.policy.normalisation import (
    Normalisation,
    VectorStats,
    compute_stats,
    load_stats,
    save_stats,
)

BOTH = pytest.mark.parametrize("mode", list(Normalisation))
NUMBERS = st.floats(-10, 10, allow_nan=False)


def make_stats(low, high, mean=0.0, std=1.0) -> VectorStats:
    return VectorStats(*(np.atleast_1d(np.float64(value)) for value in (low, high, mean, std)))


def test_known_numbers_of_the_quantile_formula():
    stats = make_stats(-0.02, 0.05)
    for value, expected in [(0.0, -0.428580), (0.05, 0.999971), (0.1, 2.428522)]:
        assert stats.normalise([value], Normalisation.QUANTILE)[0] == pytest.approx(
            expected, abs=1e-6
        )
    assert stats.denormalise([0.5], Normalisation.QUANTILE)[0] == pytest.approx(
        0.0325008, abs=5e-8
    )


def test_padding_becomes_minus_one_or_zero():
    stats = make_stats(0, 0, 0, 0)
    assert stats.normalise([0.0], Normalisation.QUANTILE)[0] == -1.0
    assert stats.normalise([0.0], Normalisation.Z_SCORE)[0] == 0.0


def test_z_score_formula():
    stats = make_stats(0, 0, mean=2.0, std=0.5)
    assert stats.normalise([3.0], Normalisation.Z_SCORE)[0] == pytest.approx(2.0, abs=1e-5)


@BOTH
@given(
    low=NUMBERS,
    span=st.floats(1e-3, 10),
    values=arrays(np.float64, (5, 1), elements=NUMBERS),
)
def test_round_trip(mode, low, span, values):
    stats = make_stats(low, low + span, mean=low, std=span)
    back = stats.denormalise(stats.normalise(values, mode), mode)
    np.testing.assert_allclose(back, values, atol=1e-9)


@given(value=st.floats(-1e3, 1e3))
def test_nothing_is_clipped(value):
    stats = make_stats(-0.1, 0.1)
    here, there = stats.normalise([[value], [value + 0.1]], Normalisation.QUANTILE)
    assert there[0] - here[0] == pytest.approx(1.0, abs=1e-4)


def test_computed_statistics_are_quantiles_over_all_rows():
    ramp = np.linspace(0.0, 1.0, 1001)
    chunks = np.stack([ramp, 2 * ramp - 1], axis=1)[:1000].reshape(20, 50, 2)
    stats = compute_stats(chunks, chunks[:, 0], width=4)
    np.testing.assert_allclose(stats.action.low, [0.00999, -0.98002, 0, 0], atol=1e-6)
    np.testing.assert_allclose(stats.action.high, [0.98901, 0.97802, 0, 0], atol=1e-6)
    np.testing.assert_allclose(stats.action.mean, [0.4995, -0.001, 0, 0], atol=1e-6)
    assert stats.state.untrained().tolist() == [False, False, True, True]


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.full((4, 3), np.nan), np.zeros((4, 9))])
def test_unusable_training_data_are_refused(values):
    with pytest.raises(ValueError):
        compute_stats(values, np.ones((4, 3)), width=8)


def test_file_round_trip(tmp_path):
    data = np.random.default_rng(0).normal(size=(100, 8))
    saved = compute_stats(data, data + 1.0)
    save_stats(saved, tmp_path)
    loaded = load_stats(tmp_path)
    for vector in ("action", "state"):
        for key in ("low", "high", "mean", "std"):
            before, after = (getattr(getattr(s, vector), key) for s in (saved, loaded))
            np.testing.assert_array_equal(before, after)
            assert after.shape == (32,)


def test_file_without_wrapper_state_or_padding(tmp_path):
    action = {
        "min": [0.0],
        "max": [1.0],
        "mean": [0.5],
        "std": [0.2],
        "q01": [0.0],
        "q99": [1.0],
    }
    content = {"default": {"min": -1, "max": 1}, "action": action}
    (tmp_path / "norm_stats.json").write_text(json.dumps(content))
    stats = load_stats(tmp_path, width=3)
    assert stats.state is None
    assert stats.action.high.tolist() == [1.0, 0.0, 0.0]


def test_missing_file_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(CheckpointError, match=r"norm_stats.json is missing: .* copy it from"):
        load_stats(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min": [float("nan")]}, "action: holds NaN"),
        ({"min": [2.0]}, "action: has min above max"),
        ({"std": [-1.0]}, "negative std"),
        ({"std": [1.0, 1.0]}, "four lists of one length"),
        ({key: [0.0] * 4 for key in ("min", "max", "mean", "std")}, "at most 3"),
        ({"mean": ["much"]}, "holds something that is no number"),
    ],
)
def test_bad_statistics_are_named(tmp_path, change, message):
    action = {"min": [0.0], "max": [1.0], "mean": [0.5], "std": [0.2], **change}
    (tmp_path / "norm_stats.json").write_text(json.dumps({"action": action}))
    with pytest.raises(CheckpointError, match=message):
        load_stats(tmp_path, width=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"action": ', "is not valid JSON"),
        ("[]", "has no entry 'action'"),
        ('{"norm_stats": {"state": {}}}', "has no entry 'action'"),
        ('{"action": {"min": [0.0]}}', "action: lacks max, mean, std"),
        ('{"action": 3}', "action: lacks min"),
    ],
)
def test_broken_file_is_named(tmp_path, text, message):
    (tmp_path / "norm_stats.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_stats(tmp_path)
