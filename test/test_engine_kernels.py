# SPDX-License-Identifier: Apache-2.0
"""The kernels' numbers (in Triton's interpreter where there is no GPU) and their machine code."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kernel_cases import CASES, TUNING, dtype_on

from dm0_ros.engine.kernels.tiles import LayerShape, choose_tiles

pytest.importorskip("triton", reason="Triton is not installed")

HERE = Path(__file__).resolve().parent
# Relative, over the whole output. The interpreter cuts to bfloat16 where a GPU rounds.
LARGEST_ERROR = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}
FULL_SIZE = LayerShape(1, 50, 1024, 1536, 16, 8, 128, torch.bfloat16)
HOPPER = 132, 227 * 1024  # multiprocessors, bytes of shared memory for a program


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("kernels") / "results.json"
    command = [sys.executable, str(HERE / "kernel_cases.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_the_plain_one(results, name):
    found = results[name]
    largest = LARGEST_ERROR[dtype_on(CASES[name], "cuda" if torch.cuda.is_available() else "cpu")]
    # what rounds a score of hundreds moves its exponential as much
    assert found["x"] < largest * (100 if CASES[name].gain > 1 else 1)
    assert found["keys"] < largest
    assert found["values"] < largest
    assert found["rest untouched"]


@pytest.mark.slow
def test_a_second_call_gives_the_same_bits(results):
    for name in results.keys() - {TUNING}:
        assert results[name]["same again"], name
        assert results[name]["counters left"] == 0, name


@pytest.mark.slow
def test_tuning_takes_the_fastest_of_many(results):
    found = results[TUNING]
    assert found["trials"] >= 20
    assert found["different"] == found["trials"]
    assert found["fastest taken"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "count", "early"), [(1, 50, False), (1, 51, True), (8, 50, False)]
)
def test_full_size_compiles_for_hopper(batch, count, early, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from dm0_ros.engine.kernels.ahead import compile_ahead

    shape = replace(FULL_SIZE, batch=batch, count=count)
    tiles = replace(choose_tiles(shape, *HOPPER), early=early)
    programs = compile_ahead(shape, tiles)
    names = ["project_heads", "attend", "project_residual", "project_gate", "project_residual"]
    assert [program.name for program in programs] == names
    for program in programs:
        assert program.stack == 0, f"{program.name} spills registers"
        assert program.tensor, f"{program.name} has no matrix instruction"
        assert program.shared <= HOPPER[1]
        assert 0 < program.registers <= 255
    assert all(p.tensor.keys() == {"HGMMA"} for p in programs if p.name != "attend")


@pytest.mark.slow
def test_an_early_program_touches_nothing_before_it_may(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from dm0_ros.engine.kernels.ahead import compile_ahead

    tiles = replace(choose_tiles(FULL_SIZE, *HOPPER), early=True)
    for program in compile_ahead(FULL_SIZE, tiles):
        before, waits, after = program.ptx.partition("griddepcontrol.wait")
        assert waits
        for access in ("ld.global", "st.global", "cp.async", "\tatom.", "\tred."):
            assert access not in before, f"{program.name}: {access} before the wait"
        assert "cp.async" in after
        assert ("prefetch.global.L2" in before) == (program.name != "attend")
