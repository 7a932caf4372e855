# SPDX-License-Identifier: Apache-2.0
"""8-bit linear maps: how far off they are, what they may not hide, and where they are used."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_samples import small_model

from dm0_ros.engine import fp8
from dm0_ros.engine.fp8 import (
    Fp8Error,
    Fp8Linear,
    available,
    choose_layers,
    convert_layers,
    quantise_rows,
)
from dm0_ros.engine.linear import Dense
from dm0_ros.engine.weights import BlockWeights, LayerWeights, fuse_prefix, fuse_vision


def draw(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).bfloat16()


def error(out, truth):
    return float((out.double() - truth).norm() / truth.norm())


def test_error_of_one_product_is_that_of_the_format():
    x, weight = draw(256, 512), draw(384, 512, seed=1)
    truth = x.double() @ weight.double().T
    linear = Fp8Linear.from_dense(weight)
    assert error(linear(x), truth) == pytest.approx(3.7e-2, rel=0.05)
    weights_only = x.double() @ (linear.weight.double() * linear.scale.double().T).T
    assert error(weights_only, truth) == pytest.approx(2.7e-2, rel=0.05)


def test_channels_that_stand_out_do_no_harm():
    x, weight = draw(256, 512), draw(384, 512, seed=1)
    x[:, :4] *= 60
    truth = x.double() @ weight.double().T
    assert error(Fp8Linear.from_dense(weight)(x), truth) < 4e-2
    # what stands out takes no digits from the rest, as it would with evenly spaced levels
    rounded, scale = quantise_rows(x)
    rest = x[:, 4:].double()
    assert error((rounded.double() * scale.double())[:, 4:], rest) < 3e-2


@settings(max_examples=100, deadline=None)
@given(
    magnitude=st.floats(-30, 30),
    width=st.integers(1, 40),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 999),
)
def test_rows_of_any_size_use_the_whole_range(magnitude, width, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(3, width, generator=generator) * 10.0**magnitude).to(dtype)
    rounded, scale = quantise_rows(x)
    assert rounded.float().abs().amax(-1).tolist() == [fp8.LARGEST] * 3
    # 3 explicit bits; below 2^-6 the steps are 2^-9 wide
    values = x.double() / scale.double()
    allowed = (values.abs() * 2.0**-4).clamp(min=2.0**-10) * 1.001
    assert bool(((rounded.double() - values).abs() <= allowed).all())


def test_a_row_of_zeros_stays_zero():
    x, weight = draw(3, 32), draw(16, 32, seed=1)
    x[1] = 0
    weight[5] = 0
    out = Fp8Linear.from_dense(weight)(x)
    assert out[1].tolist() == [0.0] * 16
    assert out[:, 5].tolist() == [0.0] * 3
    assert bool(out[0, :5].abs().min() > 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_does_not_become_one(bad):
    x, weight = draw(3, 32), draw(16, 32, seed=1)
    linear = Fp8Linear.from_dense(weight)
    x[1, 7] = bad
    out = linear(x)
    assert bool(out[1].isnan().all())
    assert bool(out[[0, 2]].isfinite().all())
    weight[4, 9] = bad
    spoilt = Fp8Linear.from_dense(weight)(draw(3, 32))
    assert bool(spoilt[:, 4].isnan().all())
    assert bool(spoilt[:, :4].isfinite().all())


@pytest.mark.parametrize("shape", [(32,), (2, 3, 32), (1, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
def test_is_called_like_a_dense_map(shape, dtype, biased):
    x = draw(6, 32).flatten()[: torch.Size(shape).numel()].view(shape).to(dtype)
    weight = draw(16, 32, seed=1).to(dtype)
    bias = 100 * torch.arange(16).to(dtype) if biased else None
    out, expected = Fp8Linear.from_dense(weight, bias)(x), Dense(weight, bias)(x)
    assert out.dtype == expected.dtype
    assert out.shape == expected.shape
    assert error(out, expected.double()) < 8e-2


def test_a_side_that_does_not_fit_is_named():
    with pytest.raises(Fp8Error, match=r"\(16, 40\) cannot be 8-bit.*multiples of 16"):
        Fp8Linear.from_dense(draw(16, 40))


@pytest.mark.parametrize("biased", [False, True])
def test_emulation_agrees_with_the_product_of_torch(biased):
    """The very call that GPUs get, where torch has it on a CPU."""
    x, weight = draw(70, 64), draw(48, 64, seed=1)
    bias = draw(1, 48, seed=2)[0] if biased else None
    linear = Fp8Linear.from_dense(weight, bias)
    rows, scale = quantise_rows(x)
    arguments = (rows, scale, linear.weight, linear.scale, linear.bias)
    try:
        out = fp8._multiply(*arguments)
    except (RuntimeError, AttributeError) as reason:
        pytest.skip(f"torch {torch.__version__} has no 8-bit product on a CPU: {reason}")
    emulated = fp8._emulate(*arguments)
    # each rounds to bfloat16, once or, with a bias, twice
    assert error(out, emulated.double()) < 4e-3
    assert torch.equal(linear(x), emulated)


def test_rounding_joins_the_norm_before_it_when_compiled():
    weight = draw(48, 64, seed=1)
    linear = Fp8Linear.from_dense(weight)
    x = draw(10, 64)

    def norm_and_map(x):
        return linear(torch.nn.functional.rms_norm(x, (64,)))

    torch._dynamo.reset()
    compiled = torch.compile(norm_and_map, fullgraph=True, dynamic=False, backend="aot_eager")
    torch.testing.assert_close(compiled(x), norm_and_map(x), rtol=2e-2, atol=2e-2)


def test_devices_without_it_say_why(monkeypatch):
    assert available(torch.device("cpu")) == "8-bit products need an NVIDIA GPU, not cpu"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    reason = available(torch.device("cuda", 0))
    assert reason == "8-bit products need compute capability 8.9, this GPU has 8.6"


def test_a_product_that_fails_or_errs_is_not_available(monkeypatch):
    """The trial that a GPU gets, on a CPU."""

    def fail(*_):
        raise RuntimeError("no kernel\nlong trace")

    trial = fp8._try_product.__wrapped__
    cpu = torch.device("cpu")
    monkeypatch.setattr(fp8, "_multiply", fp8._emulate)
    assert trial(cpu) is None
    monkeypatch.setattr(fp8, "_multiply", lambda *parts: 2 * fp8._emulate(*parts))
    assert trial(cpu) == "this torch multiplies e4m3 wrongly here"
    monkeypatch.setattr(fp8, "_multiply", fail)
    assert trial(cpu) == "this torch does not multiply e4m3 by rows here: no kernel"


@pytest.mark.parametrize(
    ("layers", "chosen"), [(28, range(2, 26)), (23, range(2, 21)), (5, [2]), (4, []), (1, [])]
)
def test_first_and_last_layers_stay_as_they_are(layers, chosen):
    assert list(choose_layers(layers)) == list(chosen)


def test_a_stack_is_converted_where_it_may_be():
    stacks = (
        fuse_prefix(small_model()).layers,
        fuse_vision(small_model()).blocks,
    )
    for stack, kind in zip(stacks, (LayerWeights, BlockWeights), strict=True):
        layers = tuple(stack[:1]) * 5
        converted = convert_layers(layers)
        for index, layer in enumerate(converted):
            if index != 2:
                assert layer is layers[index]
                continue
            for name in ("qkv", "out", "up", "gate_up", "down"):
                if hasattr(layer, name):
                    converts = name in fp8.CONVERTED[kind]
                    assert isinstance(getattr(layer, name), Fp8Linear if converts else Dense)
    odd = replace(stacks[1][0], down=Dense(torch.zeros(32, 100)))
    with pytest.raises(Fp8Error, match="32, 100"):
        convert_layers((odd,) * 5)
