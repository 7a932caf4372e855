# SPDX-License-Identifier: Apache-2.0
"""Norm stats against numpy: exact for small data, to a bin for large."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from source_samples import LAYOUT, MadeUpSource

from dm0_ros.policy.actions import to_differences
from dm0_ros.policy.normalisation import Normalisation, NormStats, VectorStats
from dm0_ros.training.sources.histogram import Histogram
from dm0_ros.training.sources.sample import BrokenEpisodeError, SourceError
from dm0_ros.training.sources.statistics import gather_stats, merge_stats

SHARES = (0.0, 0.01, 0.25, 0.5, 0.99, 1.0)


def assert_within_a_bin(histogram, rows):
    rows = np.asarray(rows, np.float64)
    for share in SHARES:
        exact = np.quantile(rows, share, axis=0, method="inverted_cdf")
        error = abs(histogram.quantile(share) - exact)
        assert np.all(error <= histogram.bin_width * (1 + 1e-6)), (share, error)
    np.testing.assert_allclose(histogram.mean, rows.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(histogram.std, rows.std(axis=0), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("order", ["shuffled", "rising", "falling"])
def test_quantiles_are_right_to_a_bin_however_the_range_grows(order):
    random = np.random.default_rng(0)
    rows = np.stack(
        [
            random.normal(3, 2, 20_000),
            random.exponential(1e-3, 20_000),
            random.normal(size=20_000),
        ],
        axis=1,
    )
    rows[:, 2] *= 1e4
    rows = {"shuffled": rows, "rising": np.sort(rows, 0), "falling": np.sort(rows, 0)[::-1]}[order]
    histogram = Histogram(3)
    for part in np.array_split(rows, 97):
        histogram.add(part)
    assert_within_a_bin(histogram, rows)
    spread = rows.max(axis=0) - rows.min(axis=0)
    assert np.all(histogram.bin_width < 4 * spread / 5000), "bins far wider than need be"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        arrays.arrays(np.float32, (7, 2), elements=st.floats(-1e6, 1e6, width=32)),
        min_size=1,
        max_size=6,
    )
)
def test_any_rows_will_do(parts):
    histogram = Histogram(2)
    for part in parts:
        histogram.add(part)
    assert_within_a_bin(histogram, np.concatenate(parts))


def test_a_column_that_never_moves_is_exact():
    histogram = Histogram(1)
    for _ in range(3):
        histogram.add(np.full((10, 1), 0.3))
    assert histogram.quantile(0.01) == histogram.quantile(0.99) == 0.3
    assert histogram.std == pytest.approx(0.0, abs=1e-12)


def read_all(source):
    numbers = [source.numbers(i) for i in range(len(source)) if i not in source.broken]
    differences = [to_differences(item.rows, item.states, LAYOUT) for item in numbers]
    states = np.concatenate([item.states for item in numbers])
    return np.concatenate(differences).reshape(-1, len(LAYOUT.columns)), states


def test_small_data_are_exact():
    source = MadeUpSource("made up", [40, 30, 50])
    stats = gather_stats(source, 32)
    for vector, rows in zip((stats.action, stats.state), read_all(source), strict=True):
        np.testing.assert_allclose(vector.low[:8], np.quantile(rows, 0.01, axis=0), atol=1e-6)
        np.testing.assert_allclose(vector.high[:8], np.quantile(rows, 0.99, axis=0), atol=1e-6)
        np.testing.assert_allclose(vector.std[:8], rows.std(axis=0), atol=1e-6)
        assert vector.low.shape == (32,) and vector.untrained()[8:].all()


def test_large_data_are_right_to_a_bin():
    source = MadeUpSource("made up", [400, 300, 500])
    exact, streamed = gather_stats(source, 8), gather_stats(source, 8, exact_rows=100)
    for vector, other, rows in zip(
        (streamed.action, streamed.state),
        (exact.action, exact.state),
        read_all(source),
        strict=True,
    ):
        bins = 2 * (rows.max(axis=0) - rows.min(axis=0)) / 5000
        for share, values in ((0.01, vector.low), (0.99, vector.high)):
            truth = np.quantile(rows, share, axis=0, method="inverted_cdf")
            assert np.all(abs(values - truth) <= bins)
        np.testing.assert_allclose(vector.mean, other.mean, atol=1e-9)
        np.testing.assert_allclose(vector.std, other.std, atol=1e-9)


def test_of_very_large_data_some_episodes_are_looked_at():
    source = MadeUpSource("made up", [30] * 50)
    seen = []
    source.numbers = lambda i, read=source.numbers: seen.append(i) or read(i)
    gather_stats(source, 8, most=100)
    assert len(seen) == len(set(seen)) == 4, "four episodes have a hundred samples"
    first = list(seen)
    gather_stats(source, 8, most=100)
    assert seen[4:] == first


def test_broken_episodes_count_only_where_they_may_be_skipped():
    with pytest.raises(BrokenEpisodeError, match="bad episode 1"):
        gather_stats(MadeUpSource("bad", [30, 30], broken=(1,)), 8)
    skipping = MadeUpSource("bad", [30, 30], broken=(1,), skip_broken=True)
    stats = gather_stats(skipping, 8)
    np.testing.assert_allclose(stats.action.mean, read_all(skipping)[0].mean(axis=0), atol=1e-6)
    nothing = MadeUpSource("bad", [30], broken=(0,), skip_broken=True)
    with pytest.raises(SourceError, match="has no episode that statistics"):
        gather_stats(nothing, 8)


def test_text_has_no_statistics():
    source = MadeUpSource("talk", [3])
    source.layout = None
    with pytest.raises(SourceError, match="talk: has text only"):
        gather_stats(source, 8)


def test_merged_statistics_are_widest_in_range_and_means_of_the_rest():
    def vector(low, high, mean, std):
        return VectorStats(*(np.array([value, 0.0]) for value in (low, high, mean, std)))

    first = NormStats(vector(-1, 2, 0.5, 1.0), vector(0, 1, 0, 1))
    second = NormStats(vector(-3, 1, 1.5, 3.0), None)
    merged = merge_stats([first, second])
    found = (merged.action.low, merged.action.high, merged.action.mean, merged.action.std)
    assert [values[0] for values in found] == [-3, 2, 1.0, 2.0]
    assert merged.action.untrained().tolist() == [False, True]
    assert merged.state.high[0] == 1
    assert merge_stats([replace(first, state=None), second]).state is None


def test_what_hardly_moves_is_not_blown_up():
    """A gripper that is held: its commands differ by rounding, but for one row of a thousand."""
    source = MadeUpSource("held", (40, 40))
    numbers = source.numbers

    def hold(episode):
        found = numbers(episode)
        found.rows[..., -1] = 0.02 + 1e-6 * np.sin(np.arange(40))[:, None]
        found.rows[7, 0, -1] = 0.0212
        found.states[..., -1] = 0.5
        return found

    source.numbers = hold
    for exact_rows in (10**6, 10):  # exactly, and by histograms
        stats = gather_stats(source, 12, exact_rows=exact_rows)
        for mode in Normalisation:
            seen = stats.action.normalise(np.pad(hold(0).rows, [(0, 0), (0, 0), (0, 4)]), mode)
            assert abs(seen[..., 7]).max() < 10
        assert stats.action.untrained()[8:].all() and stats.state.untrained()[8:].all()
        assert stats.state.high[7] - stats.state.low[7] == pytest.approx(1e-3)
