# SPDX-License-Identifier: Apache-2.0
"""Tables and comparisons of results, against formulas that are written out."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.comparison import compare, sign_flip
from dm0_ros.evaluation.estimates import Resampler, estimate_share
from dm0_ros.evaluation.result import read_result, write_result
from dm0_ros.evaluation.summary import summarise

H, COLUMNS, RANGES = 4, ["a", "b", "hand"], [0.5, 2.0, None]


def make_result(folder, key, errors, episodes=2, **facts):
    """A result of plans (P, H, 3) that take turns among episodes; ``facts`` replace its own."""
    errors = np.asarray(errors, np.float32)
    count = len(errors)
    moments = np.arange(count) * 0.5
    plans = {
        "moment": moments,
        "start": moments,
        "sequence": np.arange(count),
        "episode": (np.arange(count) % episodes).astype(np.int32),
        "action_errors": errors,
        "plan_errors": np.full_like(errors, np.nan),
        "pose_errors": np.repeat(np.abs(errors[:, :, :1, None]), 2, axis=3) * [100, 10],
        "score": np.zeros(count),
        "overlap": np.abs(errors[:, 0]),
        "progress": np.full(count, np.nan),
        "scaffold": np.full((count, 3), np.nan, np.float32),
        "latency_live": np.full((count, 4), np.nan, np.float32),
        "latency_replayed": np.ones((count, 4), np.float32),
        "switches": np.empty((0, 5)),
    } | facts.pop("plans", {})
    content = {
        "bag": f"/bags/{key}",
        "key": key,
        "setting": "checkpoint",
        "checkpoint": "mine",
        "robot": "toy",
        "seconds": 10.0,
        "columns": COLUMNS,
        "space": "joint_position",
        "horizon": H,
        "step": 0.1,
        "ranges": RANGES,
        "arms": ["arm"],
        "grippers": ["hand"],
        "joints": ["a", "b"],
        "episodes": [
            {
                "name": f"task {number}",
                "instruction": ["touch it", "leave it"][number % 2],
                "begin": 0.0,
                "end": 5.0,
                "ended": True,
                "outcome": "",
                "motion": None,
            }
            for number in range(episodes)
        ],
        "scaffold_source": "not known",
        "differences": [],
        "not_replayed": {},
        "compared": 0,
        "max_abs_difference": None,
        "identical_observations": None,
        "executor": None,
        "timing": {},
    } | facts
    write_result(folder / key, content, plans)
    return read_result(folder / key)


def draw(seed, plans=12, holes=0.2):
    random = np.random.default_rng(seed)
    errors = random.normal(size=(plans, H, len(COLUMNS)))
    errors[random.random(errors.shape) < holes] = np.nan
    return errors


def test_means_are_over_everything_that_is_known(tmp_path):
    errors = [draw(0), draw(1, plans=7)]
    results = [make_result(tmp_path, f"bag{n}", e) for n, e in enumerate(errors)]
    table, both = summarise(results), np.concatenate(errors).astype(np.float32)
    for place, name in enumerate(COLUMNS):
        mine, column = np.abs(both[:, :, place]), table["by_column"][name]["action"]
        assert column["mae"]["value"] == pytest.approx(np.nanmean(mine), rel=1e-5)
        assert column["rmse"]["value"] == pytest.approx(np.sqrt(np.nanmean(mine**2)), rel=1e-5)
        assert column["mae"]["count"] == np.isfinite(mine).sum()
        grid = table["grid"]["action"][name]["mae"]
        np.testing.assert_allclose(grid, np.nanmean(mine, axis=0), rtol=1e-5)
    shares = np.abs(both[:, :, :2]) / RANGES[:2]
    assert table["overall"]["normalised_error"]["value"] == pytest.approx(np.nanmean(shares))
    assert table["by_column"]["hand"]["action"]["normalised"]["value"] is None
    by_row = [row["normalised"]["value"] for row in table["by_row"]]
    np.testing.assert_allclose(by_row, np.nanmean(shares, axis=(0, 2)), rtol=1e-5)
    assert table["overall"]["pose_mm"]["value"] == pytest.approx(
        100 * np.nanmean(np.abs(both[:, :, 0])), rel=1e-5
    )
    one = np.concatenate([e[0::2] for e in errors])
    told = table["by_instruction"]["touch it"]
    assert told["normalised_error"]["value"] == pytest.approx(
        np.nanmean(np.abs(one[:, :, :2]) / RANGES[:2]), rel=1e-5
    )
    assert told["episodes"] == 2 and told["plans"] == len(one)
    assert table["by_bag"]["bag1"]["figures"]["plans"] == 7
    assert [e["bag"] for e in table["by_episode"]] == ["bag0", "bag0", "bag1", "bag1"]
    assert table["calibration"] is None and table["motion"] is None
    assert table["latency_ms"]["live"] is None
    assert table["latency_ms"]["replayed"]["total"] == {"p50": 4.0, "p99": 4.0}


def test_order_does_not_matter_and_nothing_counts_twice(tmp_path):
    results = [make_result(tmp_path, f"bag{n}", draw(n)) for n in range(3)]
    texts = {json.dumps(summarise(order)) for order in itertools.permutations(results)}
    assert len(texts) == 1
    with pytest.raises(Dm0Error, match="bag1: there twice"):
        summarise([*results, results[1]])
    with pytest.raises(Dm0Error, match="no bag was evaluated"):
        summarise([])
    other = make_result(tmp_path, "other", draw(9), columns=["x", "b", "hand"])
    with pytest.raises(Dm0Error, match="another columns"):
        summarise([*results, other])


@given(
    counts=st.lists(st.integers(1, 6), min_size=2, max_size=12),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_intervals_are_of_episodes_drawn_anew(counts, seed):
    random = np.random.default_rng(seed)
    sums, counts = random.normal(size=len(counts)), np.array(counts, float)
    found = Resampler(len(counts)).estimate(sums, counts)
    assert found.value == pytest.approx(sums.sum() / counts.sum())
    assert found.low <= found.high
    drawn = []
    for _ in range(3000):
        chosen = random.integers(len(counts), size=len(counts))
        drawn.append(sums[chosen].sum() / counts[chosen].sum())
    spread = np.std(drawn) + 1e-9
    assert found.low == pytest.approx(np.percentile(drawn, 2.5), abs=0.4 * spread)
    assert found.high == pytest.approx(np.percentile(drawn, 97.5), abs=0.4 * spread)
    again = Resampler(len(counts)).estimate(sums, counts)
    assert (again.low, again.high) == (found.low, found.high)


def test_one_episode_has_no_interval_and_nothing_no_value():
    one = Resampler(1).estimate(np.array([3.0]), np.array([2.0])).describe()
    assert one == {"value": 1.5, "low": None, "high": None, "episodes": 1, "count": 2}
    none = Resampler(3).estimate(np.zeros(3), np.zeros(3)).describe()
    assert none["value"] is None and none["low"] is None and none["count"] == 0
    # who says something in one of three episodes only has no interval either
    some = Resampler(3).estimate(np.array([3.0, 0, 0]), np.array([2.0, 0, 0])).describe()
    assert some["value"] == 1.5 and some["low"] is None


def test_shares_are_as_sure_as_there_are_episodes():
    few, many = estimate_share(0, 40, 4), estimate_share(0, 40, 40)
    assert few["value"] == few["low"] == 0.0
    # Wilson's upper bound of none in n is z^2 / (n + z^2)
    assert few["high"] == pytest.approx(3.8415 / 7.8415, rel=1e-3)
    assert many["high"] == pytest.approx(3.8415 / 43.8415, rel=1e-3)
    assert estimate_share(0, 0, 0)["value"] is None


@given(st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=1, max_size=9))
@settings(max_examples=40, deadline=None)
def test_p_is_the_share_of_ways_to_flip_signs(differences):
    ways = itertools.product((-1, 1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in ways]
    reached = [total >= abs(sum(differences)) for total in sums]  # eighths are exact
    assert sign_flip(differences) == pytest.approx(np.mean(reached), abs=1e-9)


def test_p_of_many_episodes_is_near_the_exact_one():
    differences = np.random.default_rng(4).normal(0.3, 1.0, size=16)
    signs = 2 * (np.arange(1 << 16)[:, None] >> np.arange(16) & 1) - 1
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    assert sign_flip(differences) == pytest.approx(exact, abs=0.015)
    assert sign_flip(differences) == sign_flip(differences)
    assert sign_flip(np.full(40, 0.1)) == pytest.approx(1 / 20_001)


def compare_errors(folder, first, second, **facts):
    one = make_result(folder / "one", "bag", first, episodes=8)
    other = make_result(folder / "other", "bag", second, episodes=8, **facts)
    return compare([one], [other])


def test_a_setting_is_no_better_than_itself(tmp_path):
    found = compare_errors(tmp_path, draw(0, 24), draw(0, 24))
    figure = found["figures"]["normalised_error"]
    assert figure["difference"] == 0.0 and figure["p"] == 1.0 == figure["p_holm"]
    assert found["episodes"] == 8 and found["plans"] == 24 and found["notes"] == []


def test_what_is_twice_as_far_off_in_every_episode_is_worse(tmp_path):
    errors = draw(0, 24)
    found = compare_errors(tmp_path, errors, 2 * errors, ranges=[1.0, 1.0, 1.0])
    figure = found["figures"]["normalised_error"]
    assert figure["second"] == pytest.approx(2 * figure["first"]), "by the ranges of the first"
    assert figure["p"] == 2 / 2**8 and figure["better"] == 0
    assert 0 < figure["low"] < figure["difference"] < figure["high"]
    told = [f["p"] for f in found["figures"].values() if f["p"] is not None]
    assert figure["p_holm"] == pytest.approx(len(told) * 2 / 2**8)
    per_episode = [
        np.nanmean(np.abs(errors[number::8, :, :2].astype(np.float32)) / RANGES[:2])
        for number in range(8)
    ]
    assert figure["first"] == pytest.approx(np.mean(per_episode), rel=1e-5)
    column = found["columns"]["b"]
    assert column["second"] == pytest.approx(2 * column["first"])


def test_only_what_both_have_is_compared(tmp_path):
    errors = np.ones((24, H, 3))
    other = 3 * np.ones((24, H, 3))
    other[:, 2:] = np.nan  # a shorter way
    errors[:, :2] = 2.0
    moments = np.arange(24) * 0.5
    moments[20:] += 0.1  # plans that only one made
    found = compare_errors(tmp_path, errors, other, plans={"moment": moments})
    assert found["plans"] == 20
    column = found["columns"]["a"]
    assert (column["first"], column["second"]) == (2.0, 3.0)


def test_too_few_episodes_are_said_to_be_too_few(tmp_path):
    one, other = (
        make_result(tmp_path / name, "bag", scale * draw(0), episodes=3)
        for name, scale in (("one", 1), ("other", 2))
    )
    (note,) = compare([one], [other])["notes"]
    assert "3 episodes" in note and "below 0.25" in note


def test_other_columns_are_compared_by_poses(tmp_path):
    columns = ["x", "y", "hand"]
    found = compare_errors(tmp_path, draw(0, 24), 2 * draw(0, 24), columns=columns)
    assert found["main"] == "pose_mm" and not found["columns"]
    assert "normalised_error" not in found["figures"]
    assert found["figures"]["pose_mm"]["p"] == 2 / 2**8
    assert any("other columns" in note for note in found["notes"])


def test_bags_of_one_setting_only_are_named(tmp_path):
    first = [make_result(tmp_path / "1", key, draw(0)) for key in ("a", "b")]
    second = [make_result(tmp_path / "2", key, draw(1)) for key in ("b", "c")]
    found = compare(first, second)
    assert (found["only_in_first"], found["only_in_second"]) == (["/bags/a"], ["/bags/c"])
    assert found["bags"] == 1
    with pytest.raises(Dm0Error, match="no plan in common"):
        compare(first[:1], second[1:])


def test_broken_results_are_named(tmp_path):
    result = make_result(tmp_path, "bag", draw(0))
    (result.folder / "plans.npz").write_bytes(b"nothing")
    with pytest.raises(Dm0Error, match=r"plans.npz: broken"):
        summarise([result])
    (result.folder / "result.json").write_text("{")
    with pytest.raises(Dm0Error, match="not JSON"):
        read_result(result.folder)
    (result.folder / "result.json").write_text('{"version": 99}')
    with pytest.raises(Dm0Error, match="another version"):
        read_result(result.folder)
    with pytest.raises(Dm0Error, match="no bag was evaluated into it"):
        read_result(tmp_path / "nowhere")
