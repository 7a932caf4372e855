# SPDX-License-Identifier: Apache-2.0
"""What an engine may be made of: kernels, 8-bit products, a named attention."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from model_samples import SMALL, small_model
from test_engine_engine import answer_eagerly, assert_same, make_engine, make_request

from dm0_ros.engine import kernels
from dm0_ros.engine.attention_kernels import AttentionError
from dm0_ros.engine.fp8 import Fp8Linear
from dm0_ros.engine.gates import Change, Stage, check
from dm0_ros.errors import Dm0Error


def describe_expert(engine):
    engine.infer([make_request()])
    return engine.describe()["expert"][1]


def test_without_a_gpu_the_expert_runs_on_torch_and_says_why(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    choice = describe_expert(make_engine(small_model()))
    assert choice.name == "torch"
    assert choice.refused["triton"]
    with pytest.raises(Dm0Error, match="Triton kernels were asked for, but cannot be used"):
        describe_expert(make_engine(small_model(), kernels=True))


def test_kernels_that_give_other_numbers_are_not_used(monkeypatch):
    class Wrong:
        def __init__(self, *_):
            pass

        def __call__(self, x, *_):
            return x.mul_(1.1)

    monkeypatch.setattr(kernels, "refusal", lambda _: None)
    monkeypatch.setitem(
        sys.modules,
        "dm0_ros.engine.kernels.expert",
        type("Fake", (), {"ExpertLayerKernels": Wrong}),
    )
    model, request = small_model(), make_request()
    engine = make_engine(model)
    assert_same(engine.infer([request])[0], answer_eagerly(model, request))
    assert "are wrong: error" in engine.describe()["expert"][1].refused["triton"]


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_an_engine_on_interpreted_kernels_answers_like_the_eager_network():
    code = "import test_engine_layers as t; t.compare_on_kernels()"
    folder = Path(__file__).parent
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(folder)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder.parent, env=environment)


def compare_on_kernels():
    """Runs in a process of its own: Triton reads its environment when it is imported."""
    for progress in (False, True):
        wide = {"head_dim": 32, "intermediate_size": 64}
        sizes = {"llm": replace(SMALL.llm, **wide), "expert": replace(SMALL.expert, **wide)}
        model = small_model(progress=progress, **sizes)
        engine = make_engine(model, kernels=True, steps=2)
        requests = [
            make_request(n, text=3 + n, progress=0.3 if progress else None) for n in (0, 1)
        ]
        for request, result in zip(requests, engine.infer(requests), strict=True):
            assert_same(result, answer_eagerly(model, request, steps=2), tolerance=1e-4)
        assert engine.describe()["expert"][2].name == "triton"


def test_eight_bit_products_stay_within_their_gate():
    deep = {"num_hidden_layers": 6}
    model = small_model(
        vision=replace(SMALL.vision, layers=6),
        llm=replace(SMALL.llm, **deep),
        expert=replace(SMALL.expert, **deep),
    )
    engine = make_engine(model, fp8=True)
    stages = engine._stages
    assert [isinstance(b.qkv, Fp8Linear) for b in stages._vision.blocks] == [
        False, False, True, True, False, False,
    ]  # fmt: skip
    assert isinstance(stages._prefix.layers[2].down, Fp8Linear)
    assert not any(isinstance(layer.qkv, Fp8Linear) for layer in stages._flow.layers)
    requests = [make_request(seed) for seed in range(4)]
    out = torch.stack([torch.from_numpy(engine.infer([r])[0].actions) for r in requests])
    exact = np.stack([answer_eagerly(model, request)[0] for request in requests])
    error = check(Stage.ACTIONS, out, torch.from_numpy(exact), Change.FP8)
    assert error > 1e-5


def test_a_named_attention_is_used_where_it_can_be():
    engine = make_engine(small_model(), attention="math")
    engine.infer([make_request()])
    names = {kind.masked: choice.name for kind, choice in engine.describe()["attention"].items()}
    assert names[False] == "math"
    for name, words in (
        ("flash-attn-3", "cannot be imported|knows|needs"),
        ("fast", "is unknown"),
    ):
        with pytest.raises(AttentionError, match=words):
            make_engine(small_model(), attention=name).infer([make_request()])


def test_compiled_layers_give_the_same_actions():
    model, request = small_model(), make_request()
    engine = make_engine(model, compiled=True, steps=2)
    assert_same(engine.infer([request])[0], answer_eagerly(model, request, steps=2))
