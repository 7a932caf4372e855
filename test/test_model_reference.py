# SPDX-License-Identifier: Apache-2.0
"""The network against the reference implementation itself, where a checkout of it is at hand.

    DM0_REFERENCE=<checkout of dexmal/dexbotic> PYTHONPATH=build/reference pytest <this file>

benchmarks/support/reference.py says what build/reference is. Without it, test_model_golden.py
holds float32 to outputs of the reference that were recorded, and test_model_qwen.py bfloat16 to
the modules that it is built from.
"""

import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from model_samples import chunk, observation, small_model

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0

ROOT = Path(__file__).resolve().parent.parent
CHECKOUT = os.environ.get("DM0_REFERENCE")
needs_reference = pytest.mark.skipif(
    CHECKOUT is None, reason="needs the reference: set DM0_REFERENCE to a checkout of dexbotic"
)
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    """benchmarks/ is a folder of programs, not a package."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def build(folder, dtype, **changes):
    """Our network as a checkpoint has it, all weights bfloat16 values, and the reference's."""
    from support.reference import ReferenceModel

    made = small_model(**changes)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(weight.bfloat16())
    made.save_pretrained(folder)
    model = DM0.from_pretrained(folder, dtype)
    return model, ReferenceModel(CHECKOUT, model)


@needs_reference
@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_actions_are_those_of_the_reference(tmp_path, dtype, progress, steps):
    model, reference = build(tmp_path, dtype, progress=progress)
    inputs, noise = observation(views=3), chunk()
    given = {"progress": torch.tensor([0.2, 0.6]).view(2, 1, 1)} if progress else {}
    found = model.sample_actions(*inputs, noise=noise, steps=steps, **given)
    expected = reference.sample(*inputs, noise, steps, **given)
    if not progress:
        found, expected = (found,), (expected,)
    for one, other in zip(found, expected, strict=True):
        if dtype == torch.bfloat16:
            assert torch.equal(one, other)
        else:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@needs_reference
@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_picture_tokens_are_those_of_the_reference(tmp_path, dtype):
    model, reference = build(tmp_path, dtype)
    images, *_ = observation()
    found, expected = (m(images[:, 0]) for m in (model.encode_pictures, reference.picture_tokens))
    tolerance = 0 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found, expected.to(dtype), atol=tolerance, rtol=tolerance)


@needs_reference
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3)])
def test_padding_that_the_reference_computes_changes_only_the_order_of_sums(
    tmp_path, dtype, limit
):
    model, reference = build(tmp_path, dtype)
    images, views, ids, mask = observation(views=3)
    views[0, 2] = views[1, 1] = False
    mask[1, 3:] = False
    noise = chunk()
    found = model.sample_actions(images, views, ids, mask, noise=noise)
    expected = reference.sample(images, views, ids, mask, noise)
    assert (found - expected).norm() / expected.norm() < limit


@needs_reference
def test_exact_rotary_tables_are_not_those_of_the_reference(tmp_path):
    """So the default of the switch, and not the other one, is what agrees."""
    model, reference = build(tmp_path, torch.bfloat16)
    inputs, noise = observation(), chunk()
    other = DM0(replace(model.config, rounded_rope=False)).eval()
    other.load_state_dict(model.state_dict(), assign=True)
    expected = reference.sample(*inputs, noise)
    assert torch.equal(model.sample_actions(*inputs, noise=noise), expected)
    assert not torch.equal(other.sample_actions(*inputs, noise=noise), expected)


@needs_reference
def test_weights_are_shared_and_settings_kept(tmp_path):
    before = torch.get_float32_matmul_precision()
    model, reference = build(tmp_path, torch.bfloat16)
    assert torch.get_float32_matmul_precision() == before
    ours = model.model.llm.layers[0].mlp.up_proj.weight
    theirs = reference.network.model.llm.layers[0].mlp.up_proj.weight
    assert ours.data_ptr() == theirs.data_ptr()


@pytest.mark.parametrize("against", [None, pytest.param(CHECKOUT, marks=needs_reference)])
def test_the_benchmark_says_how_far_they_are(against, capsys):
    import model_exactness

    options = ["--size", "tiny", "--steps", "2"] + (["--against", against] if against else [])
    figures = model_exactness.main(options)
    assert '"model_exactness_tiny"' in capsys.readouterr().out
    for name in ("dense", "ragged"):
        found = figures["tiny"][name]
        assert 1e-4 < found["ours bf16 to ours fp32"]["actions"] < 2e-2
        if against:
            assert found["ours fp32 to reference fp32"]["actions"] < 1e-6
            assert found["ours bf16 to reference bf16"]["bits equal"] or name == "ragged"


def test_a_reference_that_would_ignore_its_pictures_is_refused():
    from support import reference

    if tuple(int(part) for part in version("transformers").split(".")[:2]) <= reference.NEWEST:
        pytest.skip("this transformers is one with which the reference works")
    with pytest.raises(Dm0Error, match=r"pip install --target build/reference transformers==4"):
        reference.ReferenceModel("/nowhere", small_model())


def test_a_folder_that_is_no_checkout_is_refused(tmp_path, monkeypatch):
    from support import reference

    monkeypatch.setattr(reference, "version", lambda name: "4.53.3")
    with pytest.raises(Dm0Error, match=r"is no checkout of dexmal/dexbotic.*git clone"):
        reference.ReferenceModel(tmp_path, small_model())


VERSIONS = [("4.50.3", False), ("4.51.0", True), ("4.55.4", True), ("4.56.0", False)]


@pytest.mark.parametrize(("found", "works"), VERSIONS)
def test_versions_are_told_apart(monkeypatch, found, works):
    from support import reference

    monkeypatch.setattr(reference, "version", lambda name: found)
    if works:
        reference._check_transformers()
    else:
        with pytest.raises(Dm0Error, match=f"found {found}"):
            reference._check_transformers()
