# SPDX-License-Identifier: Apache-2.0
"""The Triton program that lets the suffix attend to the prefix and to itself.

Keys are numbered without the gap: 0 .. length-1 are the valid rows of the prefix, and the suffix
follows. So no time goes into padding, and one captured graph serves every length in its bucket.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra import cuda

from dm0_ros.engine.kernels.programs import _is_last, _places


@triton.jit
def _attend_keys(
    q, keys, values, length, gap, first, last, scale,
    WIDTH: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Softmax-weighted values of the keys first .. last-1, not yet divided; peaks and sums."""
    ROWS: tl.constexpr = q.shape[0]
    column = tl.arange(0, WIDTH)
    mixed = tl.zeros((ROWS, WIDTH), tl.float32)
    peak = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    for step in range(first, last, KEYS):
        number = step + tl.arange(0, KEYS)
        present = number < last
        row = tl.where(number < length, number, number + gap)
        k = tl.load(
            keys + row[None, :] * WIDTH + column[:, None], mask=present[None, :], other=0.0
        )
        v = tl.load(
            values + row[:, None] * WIDTH + column[None, :], mask=present[:, None], other=0.0
        )
        score = tl.dot(q, k, input_precision="ieee") * scale
        score = tl.where(present[None, :], score, float("-inf"))
        higher = tl.maximum(peak, tl.max(score, 1))
        shrink = tl.exp2(peak - higher)
        score = tl.exp2(score - higher[:, None])
        total = total * shrink + tl.sum(score, 1)
        mixed = tl.dot(score.to(v.dtype), v, mixed * shrink[:, None], input_precision="ieee")
        peak = higher
    return mixed, peak, total


@triton.jit
def _merge_parts(scratch, mixed, valid, SIZE: tl.constexpr, SPLITS: tl.constexpr):
    """Values weighted by all splits; each part is what `_attend_keys` gave: mixed, peak, total."""
    ROWS: tl.constexpr = mixed.shape[0]
    WIDTH: tl.constexpr = mixed.shape[1]
    parts = tl.arange(0, SPLITS)[:, None]
    column = scratch + parts * SIZE + ROWS * WIDTH + tl.arange(0, ROWS)[None, :]
    peaks = tl.load(column, mask=valid[None, :], other=0.0, cache_modifier=".cg")
    sums = tl.load(column + ROWS, mask=valid[None, :], other=1.0, cache_modifier=".cg")
    # The first split has a key, so the highest peak is finite; one without weighs exp2(-inf).
    weights = tl.exp2(peaks - tl.max(peaks, 0)[None, :])
    weights /= tl.sum(weights * sums, 0)[None, :]
    result = tl.zeros_like(mixed)
    for part in tl.static_range(SPLITS):
        block = tl.load(
            scratch + part * SIZE + _places(ROWS, WIDTH),
            mask=valid[:, None],
            other=0.0,
            cache_modifier=".cg",
        )
        # picked by a sum: a vector loaded again would be loaded by every thread
        result += block * tl.sum(tl.where(parts == part, weights, 0.0), 0)[:, None]
    return result


@triton.jit
def _store_rows(mixed, result, valid, row, batch, shared, count, SHARED, GROUP: tl.constexpr):
    """Rows (head of the group, token) go to mixed (B, count, heads * d)."""
    WIDTH: tl.constexpr = result.shape[1]
    head = shared * GROUP + row // count
    token = batch * count + row % count
    places = (token * SHARED * GROUP + head)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    tl.store(mixed + places, result.to(mixed.dtype.element_ty), mask=valid[:, None])


@triton.jit(do_not_specialize=["begin", "count"])
def attend(
    query, keys, values, lengths, mixed, scratch, counters,
    begin, count, batch_stride, head_stride, scale,
    SHARED: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, SPLITS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """mixed (B, count, heads * d) of query (B, heads, count, d); keys, values of one layer.

    One program per (tile of rows, split, key head of a batch). The GROUP query heads of a key
    head are its rows. lengths (B,): valid rows of the prefix, whose bucket ends at `begin`.
    scale: of the scores, for powers of 2.
    """
    tile = tl.program_id(0)
    part = tl.program_id(1)
    pair = tl.program_id(2)
    if EARLY:
        cuda.gdc_launch_dependents()
        cuda.gdc_wait()
    batch = pair // SHARED
    shared = pair % SHARED
    row = tile * ROWS + tl.arange(0, ROWS)
    valid = row < GROUP * count
    places = (pair * GROUP * count + row)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    q = tl.load(query + places, mask=valid[:, None], other=0.0)
    length = tl.load(lengths + batch).to(tl.int32)
    end = length + count
    share = tl.cdiv(tl.cdiv(end, SPLITS), KEYS) * KEYS
    place = batch * batch_stride + shared * head_stride
    result, peak, total = _attend_keys(
        q, keys + place, values + place, length, begin - length,
        part * share, tl.minimum(part * share + share, end), scale, WIDTH, KEYS,
    )  # fmt: skip
    if SPLITS == 1:
        result = result / total[:, None]
        _store_rows(mixed, result, valid, row, batch, shared, count, SHARED, GROUP)
    else:
        SIZE: tl.constexpr = ROWS * (WIDTH + 2)
        place = pair * tl.num_programs(0) + tile
        scratch += place * SPLITS * SIZE
        own = scratch + part * SIZE
        column = ROWS * WIDTH + tl.arange(0, ROWS)
        tl.store(own + _places(ROWS, WIDTH), result, mask=valid[:, None])
        tl.store(own + column, peak, mask=valid)
        tl.store(own + column + ROWS, total, mask=valid)
        if _is_last(counters + place, SPLITS):
            result = _merge_parts(scratch, result, valid, SIZE, SPLITS)
            _store_rows(mixed, result, valid, row, batch, shared, count, SHARED, GROUP)
