# SPDX-License-Identifier: Apache-2.0
"""The model's benchmark: its floors against published sums, and a run from end to end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = os.environ.get("DM0_REFERENCE")
QUICK = ["--size", "tiny", "--views", "1", "2", "--count", "2", "--warm-ups", "1"]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    """benchmarks/ is a folder of programs, not a package."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.fixture
def run(tmp_path):
    """Runs the benchmark; gives the record that it wrote."""
    import model_latency

    def run(*arguments):
        path = tmp_path / "out" / "latency.json"
        record = model_latency.main([*QUICK, "--json", str(path), *arguments])
        assert record["figures"]["settings"]
        return json.loads(path.read_text())

    return run


def full():
    from support.networks import RANDOM

    return RANDOM["full"]


# facts/performance.md, 1.2 and 1.3: H200, one to three views, 100 text positions, 10 steps.
PUBLISHED_A = {"bf16": (5.4, 9.0, 12.5), "fp8": (3.3, 5.7, 8.1)}
PUBLISHED_B = (9.3, 13.7, 18.1)


@pytest.mark.parametrize("precision", PUBLISHED_A)
def test_floor_a_is_the_published_one(precision):
    from support.floor import GPUS, compute_floor_a

    found = [
        compute_floor_a(GPUS[0], full(), views, 100, 10, precision=precision)["total"]
        for views in (1, 2, 3)
    ]
    assert [round(value, 1) for value in found] == list(PUBLISHED_A[precision])


def test_floor_a_by_stage_is_the_published_one():
    from support.floor import GPUS, compute_floor_a

    found = compute_floor_a(GPUS[0], full(), 3, 100, 10)
    assert found["vision"] == pytest.approx(8.58, abs=0.005)
    assert found["convolutions"] + found["projector"] == pytest.approx(0.20, abs=0.005)
    assert found["prefix"] == pytest.approx(2.15, abs=0.005)
    assert found["flow"] == pytest.approx(1.61, abs=0.005)


def test_floor_b_is_the_published_one_to_a_tenth():
    from support.floor import GPUS, compute_floor_b

    for views, published in zip((1, 2, 3), PUBLISHED_B, strict=True):
        found = compute_floor_b(GPUS[0], full(), views, 100, 10)["total"]
        assert found == pytest.approx(published, abs=0.1)


def test_floor_of_a_token_is_the_published_one():
    from support.floor import GPUS, compute_token_floor

    found = [
        compute_token_floor(GPUS[0], full(), 3, 100, precision=precision)
        for precision in ("bf16", "fp8")
    ]
    assert [round(value, 2) for value in found] == [0.82, 0.42]


def test_floor_a_of_another_gpu_is_the_published_one():
    from support.floor import compute_floor_a, find_gpu

    gpu = find_gpu("NVIDIA GeForce RTX 4090")
    found = [compute_floor_a(gpu, full(), views, 100, 10)["total"] for views in (1, 2, 3)]
    assert [round(value, 1) for value in found] == [25.0, 42.1, 59.2]
    assert find_gpu("Some other card") is None


def test_a_batch_shares_weights_and_waiting():
    """Eight robots cost less than eight times one, and no less than their arithmetic."""
    from support.floor import GPUS, compute_floor_a, compute_floor_b

    for compute in (compute_floor_a, compute_floor_b):
        one = compute(GPUS[0], full(), 1, 100, 10)
        eight = compute(GPUS[0], full(), 1, 100, 10, batch=8)
        assert 4 < eight["total"] / one["total"] < 8
        assert eight["flow"] < 4 * one["flow"]
    assert compute_floor_b(GPUS[0], full(), 1, 100, 10, precision="fp32") is None


def test_counted_parameters_are_those_of_the_network():
    """The floors read every matrix once; the published counts are those of dm0_model.md, A.8."""
    from support.floor import count_work

    work = count_work(full(), 1, 100, 10)
    assert work["convolutions"].parameters == pytest.approx(94_377_984, rel=1e-3)
    assert work["projector"].parameters == 8_388_608
    assert work["flow"].parameters == pytest.approx(308_346_880, rel=1e-3)
    assert work["vision"].parameters == pytest.approx(293_135_360, rel=2e-3)


def test_random_weights_show_in_the_actions():
    from support.networks import RANDOM, cast, make_random

    model = make_random(RANDOM["tiny"], torch.device("cpu"), seed=3)
    again = make_random(RANDOM["tiny"], torch.device("cpu"), seed=3)
    for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, one.bfloat16().float())
        assert one.std() > 0.01, name
    lower = cast(model, torch.bfloat16)
    assert lower.model.llm.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    assert lower.model.action_out_proj.weight.dtype == torch.float32
    assert cast(model, torch.float32) is model


def test_scenes_look_like_pictures_and_differ():
    from support.networks import RANDOM
    from support.scenes import make_scenes, to_tensors

    config = RANDOM["tiny"]
    batches = make_scenes(config, views=2, text=5, batch=2, count=4)
    frames = [frame for scenes in batches for scene in scenes for frame in scene.frames]
    assert len(frames) == 16
    for number, frame in enumerate(frames):
        assert frame.dtype == np.uint8
        assert frame.std() > 10
        assert not any(np.array_equal(frame, other) for other in frames[:number])
    images, there, token_ids, token_mask, noise = to_tensors(config, batches[0], slots=3)
    assert images.shape == (2, 3, 3, 56, 56)
    assert there.tolist() == [[True, True, False]] * 2
    assert not images[:, 2].any()
    assert token_ids.shape == token_mask.shape == (2, 5)
    assert noise.shape == (2, config.chunk_size, config.action_dim)


def test_a_run_writes_times_errors_and_floors(run):
    figures = run("--batch", "1", "2")["figures"]
    assert [(s["views"], s["batch"]) for s in figures["settings"]] == [
        (1, 1),
        (2, 1),
        (1, 2),
        (2, 2),
    ]
    for setting in figures["settings"]:
        assert setting["sight"] > 0.02
        best, eager = setting["contenders"]
        assert (best["name"], eager["name"]) == ("best", "eager")
        for entry in (best, eager):
            assert entry["ms"]["total"]["count"] == 4
            assert len(entry["ms"]["rounds_p50"]) == 2
            assert 0 < entry["ms"]["total"]["p50"] <= entry["ms"]["total"]["p99"]
            assert entry["profile"]["dispatched"] > 100
            assert entry["floors_ms"]["a"]["total"] > 0
            assert entry["ratio"]["a"] > 0
            assert entry["repeatable"]
        assert {"upload", "vision", "prefix", "flow", "download"} <= set(best["ms"])
        assert 0 < best["error"] < 1e-5
        assert best["error_to_eager"] < 1e-5
        assert eager["error"] == 0
    assert figures["peak_host_mib"] > 0
    assert {row["views"] for row in figures["throughput"]} == {1, 2}
    assert figures["versions"]["torch"] == torch.__version__


def test_bf16_is_compared_with_float32_and_with_its_own_eager(run):
    (setting, _) = run("--dtype", "bf16")["figures"]["settings"]
    best, eager = setting["contenders"]
    assert best["dtype"] == eager["dtype"] == "bf16"
    assert 1e-4 < best["error"] < 3e-2
    assert 1e-4 < eager["error"] < 3e-2
    assert best["error_to_eager"] < 3e-2


def test_every_variant_that_runs_here_agrees(run):
    names = ["plain", "graphs", "attention"]
    (setting, _) = run("--variants", *names, "--no-eager")["figures"]["settings"]
    assert [entry["name"] for entry in setting["contenders"]] == names
    for entry in setting["contenders"]:
        assert entry["error"] < 1e-5


def test_views_that_stand_still_are_answered_alike(run):
    settings = run("--still", "0", "1")["figures"]["settings"]
    assert [(s["views"], s["still"]) for s in settings] == [(1, 0), (2, 0), (2, 1)]
    best, _ = settings[-1]["contenders"]
    assert best["error"] < 1e-5
    assert "ratio" not in best


def test_stages_are_held_against_the_gates(run):
    (setting, _) = run("--dtype", "fp32", "bf16")["figures"]["settings"]
    for entry in setting["contenders"]:
        assert set(entry["gate"]["errors"]) == {
            "vision tokens",
            "prefix keys and values",
            "actions",
        }
        assert entry["gate"]["beyond"] == []


def test_8_bit_products_are_further_off_and_judged_by_their_own_gate(run):
    (setting, _) = run("--dtype", "bf16", "fp8")["figures"]["settings"]
    bf16, fp8, _ = setting["contenders"]
    assert (bf16["dtype"], fp8["dtype"]) == ("bf16", "fp8")
    assert fp8["error"] > 2 * bf16["error"]
    assert set(fp8["gate"]["limits"]) == {"actions"}
    assert fp8["gate"]["largest_share_of_seeds"] == 0.05
    assert fp8["floors_ms"]["a"]["total"] < bf16["floors_ms"]["a"]["total"]


def test_a_stage_that_is_wrong_is_named(monkeypatch):
    from support.contenders import Eager
    from support.judge import Judge
    from support.networks import load_network
    from support.scenes import make_scenes

    model = load_network("tiny", torch.device("cpu"))
    batches = make_scenes(model.config, 1, 5, 1)
    judge = Judge(Eager(model, "fp32", 2), batches)
    with torch.no_grad():
        model.model.llm.layers[1].self_attn.v_proj.weight.mul_(1.01)
    found = judge.judge(Eager(model, "fp32", 2))
    assert found["errors"]["vision tokens"] == 0
    (keys, actions) = found["beyond"]
    assert "prefix keys and values, layer 6" in keys
    assert actions.startswith("actions")


def test_generated_text_is_timed_by_the_token(run):
    figures = run("--tokens", "3")["figures"]
    (entry,) = figures["text"]
    assert (entry["name"], entry["views"], entry["tokens"]) == ("best", 2, 3)
    assert entry["ms_per_token"]["count"] == 10
    assert entry["ms_per_token"]["p50"] > entry["floor_ms"] > 0


def test_what_fails_says_why_and_costs_the_others_nothing(run, monkeypatch):
    from support.contenders import Fast

    def fail(self, scenes):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(Fast, "run", fail)
    (setting, _) = run()["figures"]["settings"]
    broken, eager = setting["contenders"]
    assert broken["refused"] == "RuntimeError: no such kernel"
    assert "ms" not in broken
    assert eager["ms"]["total"]["count"] == 4


def test_a_run_that_is_out_of_time_still_writes(run):
    (setting, _) = run("--time-limit", "0")["figures"]["settings"]
    assert all(entry["refused"] == "no time was left" for entry in setting["contenders"])


def test_the_table_names_every_contender(run, capsys):
    run()
    table = capsys.readouterr().out
    assert "1 views (0 still) x 1 robots" in table
    assert "best fp32" in table
    assert "eager fp32" in table


def test_kernels_are_counted_as_dispatched_operations_on_a_cpu():
    from support.profile import profile_call

    x = torch.ones(3)
    found = profile_call(lambda: x.mul(2).add(1), torch.device("cpu"))
    assert found == {"dispatched": 2}


def test_the_ratio_to_the_reference_takes_the_fastest_of_ours():
    from support.latency_report import compare_to_reference

    def entry(name, total, **more):
        return {"name": name, "dtype": "bf16", "ms": {"total": {"p50": total, "count": 3}}, **more}

    compared = {"error_to_reference": 0.01, "largest_difference_to_reference": 0.02}
    theirs = entry("reference", 90.0)
    theirs["ms"]["network"] = {"p50": 80.0}
    entries = [entry("eager", 5.0), entry("plain", 20.0), entry("best", 10.0, **compared), theirs]
    found = compare_to_reference(entries)
    assert found["fastest"] == "best bf16"
    assert (found["ratio_end_to_end"], found["ratio_network"]) == (9.0, 8.0)
    assert compare_to_reference(entries[:-1]) is None


def test_the_readme_gets_a_row_for_every_contender(run):
    from support.table import describe_model_latency

    figures = run()["figures"]
    rows = list(describe_model_latency(figures))
    assert len(rows) == 4
    assert rows[0][0].startswith("network tiny, best fp32, 1 views x 1 robots")
    assert "ms on cpu" in rows[0][1]
    figures["device"] = "NVIDIA H200"
    assert "x floor A" in next(describe_model_latency(figures))[1]


@pytest.mark.skipif(not REFERENCE, reason="DM0_REFERENCE names no checkout of dexmal/dexbotic")
def test_against_the_reference(run):
    record = run("--against", REFERENCE)
    for setting in record["figures"]["settings"]:
        assert setting["against"]["error"] < 1e-4
        assert setting["against"]["ratio_end_to_end"] > 0


def test_a_record_says_which_commit_a_copy_is_of(monkeypatch):
    from support.record import make_record

    monkeypatch.setenv("DM0_COMMIT", "abc1234")
    record = make_record("nothing", {})
    assert record["commit"] == "abc1234"
    assert record["machine"]["cores"] > 0


def test_what_a_time_depends_on_is_plain_json():
    from support.latency_report import to_plain
    from support.setting import Setting

    value = {"a": Setting(1, 2, 3, 4), "call": len, "dtype": torch.bfloat16, 5: (None, 1.5)}
    assert to_plain(value) == {
        "a": {"views": 1, "batch": 2, "text": 3, "steps": 4, "still": 0},
        "dtype": "torch.bfloat16",
        "5": [None, 1.5],
    }
