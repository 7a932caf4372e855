# SPDX-License-Identifier: Apache-2.0
"""Gates let the right paths through, stop the wrong ones, and say which and by how much."""

from __future__ import annotations

import pytest
import torch

from dm0_ros.engine.gates import (
    LIMITS,
    Change,
    GateError,
    Stage,
    check,
    check_against_seeds,
    column_errors,
    relative_error,
)

REFERENCE = torch.randn(4, 50, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("change", Change)
@pytest.mark.parametrize("stage", Stage)
def test_each_limit_holds_on_both_sides(change, stage):
    if stage not in LIMITS[change]:
        with pytest.raises(GateError, match=f"no limit on {stage.value}"):
            check(stage, REFERENCE, REFERENCE, change)
        return
    limit = LIMITS[change][stage]
    reference = REFERENCE.double()
    assert check(stage, reference * (1 + 0.9 * limit), reference, change) == pytest.approx(
        0.9 * limit, rel=1e-6
    )
    with pytest.raises(GateError, match=rf"{stage.value}.* is beyond the limit"):
        check(stage, reference * (1 + 1.1 * limit), reference, change)


def test_the_message_names_stage_error_and_limit():
    message = r"velocity: relative error 1\.00e-01 is beyond the limit 1\.0e-02 \(bfloat16"
    with pytest.raises(GateError, match=message):
        check(Stage.VELOCITY, 1.1 * REFERENCE, REFERENCE, Change.BFLOAT16)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("stage", [Stage.ACTIONS, Stage.KEYS_VALUES])
def test_what_is_no_number_never_passes(bad, stage):
    out = REFERENCE.clone()
    out[2, 3, 4] = bad
    with pytest.raises(GateError, match=f"{stage.value}.*relative error (nan|inf)"):
        check(stage, out, REFERENCE, Change.BFLOAT16)


def test_the_worst_layer_counts_even_where_others_hide_it():
    reference = REFERENCE * torch.tensor([100.0, 100.0, 1.0, 100.0])[:, None, None]
    out = reference.clone()
    out[2] *= 1.05
    assert relative_error(out, reference) < LIMITS[Change.BFLOAT16][Stage.KEYS_VALUES]
    with pytest.raises(
        GateError, match=r"prefix keys and values, layer 2: relative error 5\.00e-"
    ):
        check(Stage.KEYS_VALUES, out, reference, Change.BFLOAT16)


def test_relative_error_of_nothing():
    zero = torch.zeros(3)
    assert relative_error(zero, zero) == 0.0
    assert relative_error(torch.ones(3), zero) == float("inf")
    with pytest.raises(GateError, match=r"\(2,\) and \(3,\) cannot be compared"):
        relative_error(torch.ones(2), zero)


def test_columns_have_errors_in_their_own_unit():
    out = torch.zeros(2, 50, 3)
    out[..., 1] = 0.25
    out[0, :, 2] = -1.0
    assert column_errors(out, torch.zeros(2, 50, 3)).tolist() == [0.0, 0.25, 0.5]


@pytest.mark.parametrize(("share", "passes"), [(0.049, True), (0.051, False)])
def test_the_spread_between_seeds_is_the_measure(share, passes):
    """Two seeds 2 apart everywhere have a standard deviation of the square root of 2."""
    reference = torch.stack((torch.zeros(50, 4), torch.full((50, 4), 2.0)))
    out = reference + share * 2**0.5
    if passes:
        assert check_against_seeds(out, reference) == pytest.approx(share, rel=1e-6)
        return
    with pytest.raises(GateError, match=r"5\.1% of the spread between noise seeds, beyond 5%"):
        check_against_seeds(out, reference)


def test_no_spread_no_answer():
    with pytest.raises(GateError, match="at least two seeds"):
        check_against_seeds(REFERENCE[:1], REFERENCE[:1])
    same = REFERENCE[:1].expand(2, -1, -1)
    with pytest.raises(GateError, match=r"nan|inf"):
        check_against_seeds(same + 1, same)
