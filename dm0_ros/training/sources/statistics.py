# SPDX-License-Identifier: Apache-2.0
"""Norm stats of sources, as `policy.normalisation` has them: exact, or by histograms if large."""

from collections.abc import Sequence

import numpy as np

from dm0_ros.policy.actions import to_differences
from dm0_ros.policy.normalisation import NormStats, VectorStats, compute_stats
from dm0_ros.training.sources.histogram import Histogram
from dm0_ros.training.sources.sample import BrokenEpisodeError, Source, SourceError

EXACT_ROWS = 1_000_000  # of chunks, that are held in memory: 64 MB at 8 columns
MOST_SAMPLES = 320_128  # that are looked at: 2501 batches of 128, as in the reference
_QUANTILES = (0.01, 0.99)
# rad, m, or a gripper's raw unit: what moves less is still, and is not blown up. Commands of a
# gripper that is held differ by rounding, and one row that differs by more would outweigh all.
_STILL = 1e-3


def gather_stats(
    source: Source, width: int, exact_rows: int = EXACT_ROWS, most: int = MOST_SAMPLES
) -> NormStats:
    """Statistics of a source's states and of its rows' differences, padded to ``width`` columns.

    Of a source with more than ``most`` samples, whole episodes are looked at, drawn by chance but
    always the same. Of more than ``exact_rows`` rows, quantiles are right to a histogram's bin.
    Columns that hardly move get a range all the same.
    Raises `SourceError` where there is nothing to gather, and what the source raises.
    """
    if source.layout is None:
        raise SourceError(f"{source.name}: has text only, of which there are no statistics")
    gathered: list[tuple[np.ndarray, np.ndarray]] = []
    histograms: tuple[Histogram, Histogram] | None = None
    rows = samples = 0
    for episode in np.random.default_rng(0).permutation(len(source)):
        found = _read(source, int(episode))
        if found is None:
            continue
        gathered.append(found)
        rows, samples = rows + len(found[0]), samples + len(found[1])
        if rows > exact_rows:
            histograms = histograms or tuple(Histogram(part.shape[1]) for part in found)
            _empty_into(histograms, gathered)
        if samples >= most:
            break
    if not samples:
        raise SourceError(f"{source.name}: has no episode that statistics could be made of")
    if histograms is None:
        actions, states = (np.concatenate(part) for part in zip(*gathered, strict=True))
        stats = compute_stats(actions, states, width)
    else:
        stats = NormStats(*(_summarise(histogram, width) for histogram in histograms))
    layout = source.layout
    return NormStats(
        _widen(stats.action, len(layout.columns)), _widen(stats.state, len(layout.state_columns))
    )


def merge_stats(parts: Sequence[NormStats]) -> NormStats:
    """Statistics for sources trained on together: the widest range, and means of the rest.

    As the reference merges: least of the lows, greatest of the highs, plain means of means and
    of deviations, whatever the sizes.
    """
    if not parts:
        raise ValueError("there is nothing to merge")
    states = [part.state for part in parts if part.state is not None]
    return NormStats(_merge([part.action for part in parts]), _merge(states) if states else None)


def _read(source: Source, episode: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Differences (N * H, C) and states (N, S) of an episode, in the units of the data."""
    try:
        numbers = source.numbers(episode)
    except BrokenEpisodeError:
        if not source.skip_broken:
            raise
        return None  # whoever draws it says so
    if not len(numbers.states):
        return None
    layout = source.layout
    differences = to_differences(numbers.rows, numbers.states, layout)
    states = layout.states_to_data(numbers.states)
    return differences.reshape(-1, differences.shape[-1]), states


def _empty_into(
    histograms: Sequence[Histogram], gathered: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    for parts in gathered:
        for histogram, part in zip(histograms, parts, strict=True):
            histogram.add(part)
    gathered.clear()


def _summarise(histogram: Histogram, width: int) -> VectorStats:
    low, high = (histogram.quantile(share) for share in _QUANTILES)
    columns = (low, high, histogram.mean, histogram.std)
    return VectorStats(*(np.pad(column, (0, width - len(column))) for column in columns))


def _widen(stats: VectorStats, count: int) -> VectorStats:
    """Ranges of the first ``count`` columns, which are not padding, are at least `_STILL`."""
    there = np.arange(len(stats.low)) < count
    missing = np.where(there, np.maximum(_STILL - (stats.high - stats.low), 0.0), 0.0) / 2
    return VectorStats(
        low=stats.low - missing,
        high=stats.high + missing,
        mean=stats.mean,
        std=np.where(there, np.maximum(stats.std, _STILL / 4), stats.std),
    )


def _merge(parts: Sequence[VectorStats]) -> VectorStats:
    return VectorStats(
        low=np.min([part.low for part in parts], axis=0),
        high=np.max([part.high for part in parts], axis=0),
        mean=np.mean([part.mean for part in parts], axis=0),
        std=np.mean([part.std for part in parts], axis=0),
    )
