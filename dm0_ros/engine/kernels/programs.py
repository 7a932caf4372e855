# SPDX-License-Identifier: Apache-2.0
"""Triton programs of one layer of the action expert. Importing this needs Triton, but no GPU.

A program works on a tile of rows (tokens of the suffix, B * L of them) and one of columns. Where
that gives fewer programs than a GPU has multiprocessors, several share a tile: each takes a part
of the inner axis (of the keys, for attention) and leaves its sums in float32 scratch, and the last
one to arrive adds them up. It adds in a fixed order, so results do not depend on timing.

Names in capitals are compile-time constants. With EARLY a program is launched while the one before
it still runs, fetches its weights into the L2 cache and then waits for the other's results.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra import cuda


@triton.jit
def _begin(weight, columns, begin, K: tl.constexpr, SPAN: tl.constexpr, EARLY: tl.constexpr):
    """Comes before anything that an earlier program writes or reads is touched."""
    if EARLY:
        cuda.gdc_launch_dependents()
        LINE: tl.constexpr = 1024 // weight.dtype.element_ty.primitive_bitwidth
        for step in tl.static_range(0, SPAN, LINE):
            tl.inline_asm_elementwise(
                "prefetch.global.L2 [$1]; mov.u32 $0, 0;",
                "=r,l",
                [weight + columns * K + begin + step],
                dtype=tl.int32,
                is_pure=False,
                pack=1,
            )
        cuda.gdc_wait()


@triton.jit
def _is_last(counter, SPLITS: tl.constexpr):
    """Whether this is the last of SPLITS programs to come here; it sets the counter back to 0."""
    # What all threads stored has to stand before the one that counts says so.
    tl.debug_barrier()
    last = tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") == SPLITS - 1
    tl.debug_barrier()
    if last:
        tl.store(counter, 0)
    return last


@triton.jit
def _places(ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    return tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]


@triton.jit
def _add_parts(scratch, valid, like, SIZE: tl.constexpr, SPLITS: tl.constexpr):
    """Sum of the splits' blocks, each ROWS x COLUMNS and SIZE elements behind the one before."""
    places = _places(like.shape[0], like.shape[1])
    total = tl.zeros_like(like)
    for part in tl.static_range(SPLITS):
        # .cg: past the first-level cache, which does not see what other multiprocessors write
        total += tl.load(
            scratch + part * SIZE + places, mask=valid[:, None], other=0.0, cache_modifier=".cg"
        )
    return total


@triton.jit
def _multiply_pair(
    x, weight, rows, valid, first, second, begin,
    K: tl.constexpr, SPAN: tl.constexpr, DEPTH: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """x @ weight[first].T, x @ weight[second].T and the rows' sums of squares, over SPAN of K."""
    inner = begin + tl.arange(0, DEPTH)
    left = tl.zeros((rows.shape[0], first.shape[0]), tl.float32)
    right = tl.zeros((rows.shape[0], first.shape[0]), tl.float32)
    squares = tl.zeros((rows.shape[0],), tl.float32)
    for step in range(0, SPAN, DEPTH):
        here = inner + step
        part = tl.load(x + rows[:, None] * K + here[None, :], mask=valid[:, None], other=0.0)
        a = tl.load(weight + first[None, :] * K + here[:, None], eviction_policy=KEEP)
        b = tl.load(weight + second[None, :] * K + here[:, None], eviction_policy=KEEP)
        squares += tl.sum(part * part, 1)
        part = part.to(weight.dtype.element_ty)
        left = tl.dot(part, a, left, input_precision="ieee")
        right = tl.dot(part, b, right, input_precision="ieee")
    return left, right, squares


@triton.jit
def _norm_pair(left, right, squares, eps, WIDTH: tl.constexpr):
    """Products of a row with its root-mean-square norm, made from products of the row itself."""
    scale = tl.rsqrt(squares / WIDTH + eps)[:, None]
    return left * scale, right * scale


@triton.jit
def _store_pair(scratch, left, right, squares, valid):
    ROWS: tl.constexpr = left.shape[0]
    COLUMNS: tl.constexpr = left.shape[1]
    places = _places(ROWS, COLUMNS)
    tl.store(scratch + places, left, mask=valid[:, None])
    tl.store(scratch + ROWS * COLUMNS + places, right, mask=valid[:, None])
    tl.store(scratch + 2 * ROWS * COLUMNS + tl.arange(0, ROWS), squares, mask=valid)


@triton.jit
def _add_pairs(scratch, left, right, squares, valid, SIZE: tl.constexpr, SPLITS: tl.constexpr):
    """The sums over all splits of what `_store_pair` stored."""
    block: tl.constexpr = left.shape[0] * left.shape[1]
    left = _add_parts(scratch, valid, left, SIZE, SPLITS)
    right = _add_parts(scratch + block, valid, right, SIZE, SPLITS)
    column = _add_parts(scratch + 2 * block, valid, squares[:, None], SIZE, SPLITS)
    return left, right, tl.sum(column, 1)


@triton.jit
def _finish_head(
    left, right, squares, query_norm, key_norm, cos, sin, query, keys, values,
    rows, valid, head, begin, count, batch_stride, head_stride, eps,
    K: tl.constexpr, HEADS: tl.constexpr, SHARED: tl.constexpr,
):  # fmt: skip
    """Norm and rotation of one head's columns, in halves, and the store to where it belongs."""
    HALF: tl.constexpr = left.shape[1]
    left, right = _norm_pair(left, right, squares, eps, K)
    column = tl.arange(0, HALF)
    batch = rows // count
    row = rows % count
    if head < HEADS + SHARED:
        scale = tl.rsqrt((tl.sum(left * left, 1) + tl.sum(right * right, 1)) / (2 * HALF) + eps)
        is_query = head < HEADS
        gain = tl.where(is_query, tl.load(query_norm + column), tl.load(key_norm + column))
        left *= scale[:, None] * gain.to(tl.float32)[None, :]
        gain = tl.where(
            is_query, tl.load(query_norm + HALF + column), tl.load(key_norm + HALF + column)
        )
        right *= scale[:, None] * gain.to(tl.float32)[None, :]
        table = rows[:, None] * (2 * HALF) + column[None, :]
        c = tl.load(cos + table, mask=valid[:, None], other=0.0).to(tl.float32)
        s = tl.load(sin + HALF + table, mask=valid[:, None], other=0.0).to(tl.float32)
        turned = left * c - right * s
        right = right * c + left * s
        left = turned
    own = ((batch * HEADS + head) * count + row) * (2 * HALF)
    cached = batch * batch_stride + (begin + row) * (2 * HALF)
    if head < HEADS:
        _store_halves(query + own, left, right, valid)
    elif head < HEADS + SHARED:
        _store_halves(keys + cached + (head - HEADS) * head_stride, left, right, valid)
    else:
        place = cached + (head - HEADS - SHARED) * head_stride
        _store_halves(values + place, left, right, valid)


@triton.jit
def _store_halves(places, left, right, valid):
    HALF: tl.constexpr = left.shape[1]
    places = places[:, None] + tl.arange(0, HALF)[None, :]
    tl.store(places, left.to(places.dtype.element_ty), mask=valid[:, None])
    tl.store(places + HALF, right.to(places.dtype.element_ty), mask=valid[:, None])


@triton.jit(do_not_specialize=["m", "begin", "count"])
def project_heads(
    x, weight, query_norm, key_norm, cos, sin, query, keys, values, scratch, counters,
    m, begin, count, batch_stride, head_stride, eps,
    K: tl.constexpr, HEADS: tl.constexpr, SHARED: tl.constexpr, HALF: tl.constexpr,
    ROWS: tl.constexpr, DEPTH: tl.constexpr, SPLITS: tl.constexpr,
    KEEP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Queries, turned, and the cache's keys, turned, and values, of the normed residual stream.

    One program per (tile of rows, split, head of q, k or v). x (m, K) float32; query
    (B, HEADS, count, d); keys and values of one layer with their strides over batch and head;
    cos, sin (B * count, d), of which sin is minus the sine in its first half.
    """
    tile = tl.program_id(0)
    part = tl.program_id(1)
    head = tl.program_id(2)
    SPAN: tl.constexpr = K // SPLITS
    first = head * (2 * HALF) + tl.arange(0, HALF)
    _begin(weight, head * (2 * HALF) + tl.arange(0, 2 * HALF), part * SPAN, K, SPAN, EARLY)
    rows = tile * ROWS + tl.arange(0, ROWS)
    valid = rows < m
    left, right, squares = _multiply_pair(
        x, weight, rows, valid, first, first + HALF, part * SPAN, K, SPAN, DEPTH, KEEP
    )
    if SPLITS == 1:
        _finish_head(
            left, right, squares, query_norm, key_norm, cos, sin, query, keys, values,
            rows, valid, head, begin, count, batch_stride, head_stride, eps, K, HEADS, SHARED,
        )  # fmt: skip
    else:
        SIZE: tl.constexpr = ROWS * (2 * HALF + 1)
        place = head * tl.num_programs(0) + tile
        scratch += place * SPLITS * SIZE
        _store_pair(scratch + part * SIZE, left, right, squares, valid)
        if _is_last(counters + place, SPLITS):
            left, right, squares = _add_pairs(scratch, left, right, squares, valid, SIZE, SPLITS)
            _finish_head(
                left, right, squares, query_norm, key_norm, cos, sin, query, keys, values,
                rows, valid, head, begin, count, batch_stride, head_stride, eps, K, HEADS, SHARED,
            )  # fmt: skip


@triton.jit
def _finish_gate(gate, up, squares, hidden, rows, valid, columns, eps, K, INNER):
    gate, up = _norm_pair(gate, up, squares, eps, K)
    value = gate * tl.sigmoid(gate) * up
    places = hidden + rows[:, None] * INNER + columns[None, :]
    tl.store(places, value.to(hidden.dtype.element_ty), mask=valid[:, None])


@triton.jit(do_not_specialize=["m"])
def project_gate(
    x, weight, hidden, scratch, counters, m, eps,
    K: tl.constexpr, INNER: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, SPLITS: tl.constexpr,
    KEEP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """hidden (m, INNER) = silu(gate) * up of the normed residual stream x (m, K) float32.

    One program per (tile of rows, split, tile of columns).
    """
    tile = tl.program_id(0)
    part = tl.program_id(1)
    block = tl.program_id(2)
    SPAN: tl.constexpr = K // SPLITS
    columns = block * COLUMNS + tl.arange(0, COLUMNS)
    _begin(weight, tl.join(columns, columns + INNER), part * SPAN, K, SPAN, EARLY)
    rows = tile * ROWS + tl.arange(0, ROWS)
    valid = rows < m
    gate, up, squares = _multiply_pair(
        x, weight, rows, valid, columns, columns + INNER, part * SPAN, K, SPAN, DEPTH, KEEP
    )
    if SPLITS == 1:
        _finish_gate(gate, up, squares, hidden, rows, valid, columns, eps, K, INNER)
    else:
        SIZE: tl.constexpr = ROWS * (2 * COLUMNS + 1)
        place = block * tl.num_programs(0) + tile
        scratch += place * SPLITS * SIZE
        _store_pair(scratch + part * SIZE, gate, up, squares, valid)
        if _is_last(counters + place, SPLITS):
            gate, up, squares = _add_pairs(scratch, gate, up, squares, valid, SIZE, SPLITS)
            _finish_gate(gate, up, squares, hidden, rows, valid, columns, eps, K, INNER)


@triton.jit(do_not_specialize=["m"])
def project_residual(
    x, weight, residual, scratch, counters, m,
    K: tl.constexpr, N: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, SPLITS: tl.constexpr,
    KEEP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """residual (m, N) float32 += x (m, K) @ weight.T.

    One program per (tile of rows, split, tile of columns).
    """
    tile = tl.program_id(0)
    part = tl.program_id(1)
    block = tl.program_id(2)
    SPAN: tl.constexpr = K // SPLITS
    columns = block * COLUMNS + tl.arange(0, COLUMNS)
    _begin(weight, columns, part * SPAN, K, SPAN, EARLY)
    rows = tile * ROWS + tl.arange(0, ROWS)
    valid = rows < m
    inner = part * SPAN + tl.arange(0, DEPTH)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for step in range(0, SPAN, DEPTH):
        here = inner + step
        a = tl.load(x + rows[:, None] * K + here[None, :], mask=valid[:, None], other=0.0)
        b = tl.load(weight + columns[None, :] * K + here[:, None], eviction_policy=KEEP)
        total = tl.dot(a, b, total, input_precision="ieee")
    places = residual + rows[:, None] * N + columns[None, :]
    if SPLITS == 1:
        total += tl.load(places, mask=valid[:, None], other=0.0)
        tl.store(places, total, mask=valid[:, None])
    else:
        SIZE: tl.constexpr = ROWS * COLUMNS
        place = block * tl.num_programs(0) + tile
        scratch += place * SPLITS * SIZE
        tl.store(scratch + part * SIZE + _places(ROWS, COLUMNS), total, mask=valid[:, None])
        if _is_last(counters + place, SPLITS):
            total = _add_parts(scratch, valid, total, SIZE, SPLITS)
            total += tl.load(places, mask=valid[:, None], other=0.0)
            tl.store(places, total, mask=valid[:, None])
