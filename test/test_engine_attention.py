# SPDX-License-Identifier: Apache-2.0
"""Every kernel for attention gives the same numbers; the choice between them can be trusted."""

from __future__ import annotations

import sys
import types
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.engine import attention, attention_kernels, trials
from dm0_ros.engine.attention import AttentionShape, choose
from dm0_ros.engine.attention_kernels import CANDIDATES, AttentionError, attend_by_package
from dm0_ros.engine.trials import time_fairly

CPU = torch.device("cpu")
HERE = ("default", "flash", "math", "products", "float32")
VISION = AttentionShape(2, 4, 4, 21, 21, 24)
PREFIX = AttentionShape(1, 4, 2, 30, 30, 16, causal=True)
SUFFIX = AttentionShape(2, 2, 2, 20, 46, 16, masked=True)


def draw(shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def tensor(heads, rows):
        size = (shape.batch, heads, rows, shape.head_dim)
        return torch.randn(size, generator=generator).to(dtype)

    return (
        tensor(shape.heads, shape.queries),
        tensor(shape.kv_heads, shape.keys),
        tensor(shape.kv_heads, shape.keys),
    )


def expected(query, key, value, mask=None, causal=False):
    """One query at a time, from the definition, in float64."""
    query, key, value = query.double(), key.double(), value.double()
    batch, heads, count, width = query.shape
    shape = (batch, heads, count, key.shape[2])
    seen = torch.ones(shape, dtype=torch.bool) if mask is None else mask.expand(shape)
    out = torch.zeros_like(query)
    for b in range(batch):
        for h in range(heads):
            shared = h * key.shape[1] // heads
            for row in range(count):
                there = seen[b, h, row].clone()
                if causal:
                    there[row + 1 :] = False
                scores = key[b, shared] @ query[b, h, row] / width**0.5
                weights = scores[there].softmax(0)
                out[b, h, row] = weights @ value[b, shared][there]
    return out


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(HERE),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 2),
    queries=st.integers(1, 6),
    keys=st.integers(1, 9),
    kind=st.sampled_from(("plain", "keys masked", "rows masked", "causal")),
    seed=st.integers(0, 99),
)
def test_every_kernel_follows_the_definition(name, kv_heads, group, queries, keys, kind, seed):
    causal = kind == "causal"
    shape = AttentionShape(2, kv_heads * group, kv_heads, queries, queries if causal else keys, 8)
    query, key, value = draw(shape, seed=seed)
    mask = None
    if kind.endswith("masked"):
        rows = 1 if kind.startswith("keys") else shape.queries
        generator = torch.Generator().manual_seed(seed)
        mask = torch.rand(2, 1, rows, shape.keys, generator=generator) < 0.6
        mask[..., 0] = True
    mixed = CANDIDATES[name](query, key, value, mask, causal=causal)
    assert mixed.shape == query.shape
    truth = expected(query, key, value, mask, causal)
    torch.testing.assert_close(mixed.double(), truth, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("shape", [VISION, PREFIX, SUFFIX], ids=["vision", "prefix", "suffix"])
def test_every_kernel_compiles_whole(name, shape):
    torch._dynamo.reset()
    query, key, value = draw(shape)
    mask = torch.ones(1, 1, 1, shape.keys, dtype=torch.bool) if shape.masked else None
    attend = CANDIDATES[name]

    def twice(*parts):
        return 2 * attend(*parts, mask, causal=shape.causal)

    # aot_eager traces everything that inductor would be given, without a compiler at work
    compiled = torch.compile(twice, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(query, key, value), twice(query, key, value))


@pytest.mark.parametrize("shape", [VISION, PREFIX, SUFFIX], ids=["vision", "prefix", "suffix"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_chosen_one_is_among_the_fastest_and_all_are_accounted_for(shape, dtype):
    choice = choose(shape, dtype, CPU)
    assert choice.milliseconds.keys() | choice.refused.keys() == CANDIDATES.keys()
    assert not choice.milliseconds.keys() & choice.refused.keys()
    fastest = min(choice.milliseconds.values())
    assert fastest > 0
    assert choice.milliseconds[choice.name] <= attention.TIE * fastest
    assert choice.attend is CANDIDATES[choice.name]
    assert {"default", "math", "products"} <= choice.milliseconds.keys()
    assert ("float32" in choice.refused) == (dtype == torch.float32)


def test_what_cannot_run_says_why():
    refused = choose(SUFFIX, torch.bfloat16, CPU).refused
    for name in ("cudnn", "efficient", "flash-attn-2", "flash-attn-3"):
        assert refused[name] == "needs an NVIDIA GPU, not cpu"
    assert refused["flash"] == "is what default takes on a CPU"
    assert choose(SUFFIX, torch.bfloat16, CPU, only="flash").name == "flash"


def test_packages_are_refused_for_a_reason_of_theirs():
    gpu = torch.device("cuda")
    find = attention._find_obstacle
    assert "not torch.float32" in find("flash-attn-3", VISION, torch.float32, gpu)
    assert find("flash-attn-2", SUFFIX, torch.bfloat16, gpu) == "takes no mask"
    reason = find("flash-attn-3", VISION, torch.bfloat16, gpu)
    assert "flash_attn_interface cannot be imported" in reason
    assert find("cudnn", VISION, torch.bfloat16, gpu) is None


def test_one_can_be_asked_for_by_name():
    choice = choose(PREFIX, torch.float32, CPU, only="products")
    assert choice.name == "products"
    assert choice.milliseconds.keys() == {"products"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flash-attn-9", "attention 'flash-attn-9' is unknown; known: default, flash"),
        ("cudnn", "cudnn: needs an NVIDIA GPU, not cpu"),
    ],
)
def test_an_unknown_or_unusable_name_is_an_error(name, message):
    with pytest.raises(AttentionError, match=message):
        choose(VISION, torch.float32, CPU, only=name)


@pytest.mark.parametrize(
    ("heads", "changes", "message"),
    [
        (3, {}, "3 heads cannot share 2 key heads"),
        (4, {"causal": True}, "causal is for as many queries as keys"),
    ],
)
def test_impossible_shapes_are_refused(heads, changes, message):
    with pytest.raises(AttentionError, match=message):
        AttentionShape(1, heads, 2, 5, 6, 8, **changes)


def test_kernels_that_store_all_scores_are_spared_large_shapes(monkeypatch):
    monkeypatch.setattr(attention, "LARGEST_SCORES", 2**10)
    refused = choose(VISION, torch.float32, CPU).refused
    assert refused["math"] == refused["products"] == "would store a matrix of 3.5e+03 scores"
    assert choose(VISION, torch.float32, CPU, only="math").name == "math"


def ignore_mask(query, key, value, mask=None, causal=False):
    return F.scaled_dot_product_attention(query, key, value)


def lose_numbers(query, key, value, mask=None, causal=False):
    return torch.full_like(query, float("nan"))


def raise_assertion(query, key, value, mask=None, causal=False):
    raise AssertionError


def fail(query, key, value, mask=None, causal=False):
    raise RuntimeError("no kernel image for this device\nand a long trace")


@pytest.mark.parametrize(
    ("attend", "reason"),
    [
        (ignore_mask, "is wrong: error .* relative to float64"),
        (lose_numbers, "is wrong: error nan"),
        (fail, "^no kernel image for this device$"),
        (raise_assertion, "AssertionError"),
    ],
)
def test_a_kernel_that_errs_is_not_chosen(monkeypatch, attend, reason):
    candidates = {"bad": attend, "math": CANDIDATES["math"]}
    monkeypatch.setattr(attention, "CANDIDATES", candidates)
    choice = choose(SUFFIX, torch.float32, CPU)
    assert choice.name == "math"
    with pytest.raises(AttentionError, match=reason.strip("^$")):
        choose(SUFFIX, torch.float32, CPU, only="bad")


@pytest.mark.parametrize("with_sums", [False, True])
def test_a_package_gets_rows_before_heads(monkeypatch, with_sums):
    """The packages need a GPU; a stand-in with their signature checks how they are called."""
    seen = []

    def flash_attn_func(query, key, value, causal=False):
        seen.append((query.shape, key.shape, causal))
        parts = (part.transpose(1, 2) for part in (query, key, value))
        mixed = F.scaled_dot_product_attention(*parts, is_causal=causal, enable_gqa=True)
        mixed = mixed.transpose(1, 2).contiguous()
        return (mixed, torch.zeros(1)) if with_sums else mixed

    package = types.ModuleType("flash_attn_stand_in")
    package.flash_attn_func = flash_attn_func
    monkeypatch.setitem(sys.modules, package.__name__, package)
    query, key, value = draw(PREFIX)

    def attend(*parts):
        return attend_by_package(package.__name__, *parts, causal=True)

    truth = expected(query, key, value, causal=True).float()
    torch.testing.assert_close(attend(query, key, value), truth)
    assert seen == [((1, 30, 4, 16), (1, 30, 2, 16), True)]
    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(query, key, value), truth)
    with pytest.raises(AttentionError, match="takes no mask"):
        attend_by_package(package.__name__, query, key, value, torch.ones(1, dtype=torch.bool))


def test_float32_groups_are_repeated_away_from_a_cpu(monkeypatch):
    """There torch would take its slowest kernel; the meta device stands for a GPU's rules."""
    asked = []

    def record(query, key, value, *rest, enable_gqa):
        asked.append((key.shape[1], enable_gqa))
        return query

    monkeypatch.setattr(attention_kernels.F, "scaled_dot_product_attention", record)
    mask = torch.ones(1, 1, 1, PREFIX.keys, dtype=torch.bool, device="meta")
    for dtype, given_mask in [
        (torch.float32, None),
        (torch.bfloat16, mask),
        (torch.bfloat16, None),
    ]:
        parts = (part.to("meta") for part in draw(PREFIX, dtype))
        CANDIDATES["default"](*parts, given_mask)
    assert asked == [(4, False), (4, False), (2, True)]


def test_turns_are_fair_and_the_hopeless_get_one(monkeypatch):
    """On a clock that only the work moves."""
    now, calls = [0.0], []

    def work(name, seconds):
        calls.append(name)
        now[0] += seconds

    monkeypatch.setattr(trials.time, "perf_counter", lambda: now[0])
    costs = {"quick": 1e-3, "fair": 1.5e-3, "slow": 1e-2}
    times, failed = time_fairly({n: partial(work, n, c) for n, c in costs.items()}, CPU)
    assert failed == {}
    assert times == pytest.approx({name: 1e3 * cost for name, cost in costs.items()})
    assert calls[-3:] == ["quick", "quick", "fair"]
    assert calls.count("slow") == 2  # one to see how many calls make a round, one round
    assert calls.count("fair") == 1 + trials.ROUNDS


def test_time_runs_out_after_a_whole_round(monkeypatch):
    now = [0.0]

    def work():
        now[0] += 0.4

    monkeypatch.setattr(trials.time, "perf_counter", lambda: now[0])
    times, _ = time_fairly({"one": work, "two": work}, CPU)
    assert times == pytest.approx({"one": 400.0, "two": 400.0})
    assert now[0] == pytest.approx(4 * 0.4)
