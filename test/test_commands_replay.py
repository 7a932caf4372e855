# SPDX-License-Identifier: Apache-2.0
"""`dm0 replay` as it is typed: figures in a file, words for a person, one line for a mistake."""

import json

import pytest
from replay_recordings import losing, record
from typer.testing import CliRunner

from dm0_ros.cli import app
from dm0_ros.errors import Dm0Error


def run(*words):
    return CliRunner().invoke(app, ["replay", *map(str, words)])


def test_figures_and_words(tiny_checkpoint, tmp_path):
    bag, path = tmp_path / "bag", tmp_path / "new" / "replay.json"
    live = record(
        bag, tiny_checkpoint, lose=losing("camera/right_hand/image_raw", begin=0.8, end=1.0)
    )
    result = run(bag, "--latency", "0", "--json", path)
    assert result.exit_code == 0, result.output
    figures = json.loads(path.read_text())
    lost = sum(figures["not_replayed"].values())
    assert figures["plans"] == figures["compared"] == len(live.plans) - lost
    assert figures["max_abs_difference"] == 0.0 and figures["mean_max_difference"] == 0.0
    assert figures["identical_observations"] == figures["plans"] and figures["traced"]
    assert figures["worst"]["instruction"] in ("touch the red block", "touch it")
    assert 2 < figures["seconds"] < 4 and figures["real_time_factor"] > 0
    assert 10 < figures["peak_memory_mb"] < 1e5
    assert figures["executor"]["plans_followed"] > 0
    said = " ".join(result.output.split())
    assert "not replayed (1): not in the bag: the picture of right_hand" in said
    assert f"{figures['compared']} compared with what was recorded: largest difference 0," in said
    again = run(bag, "--latency", "0", "--json", tmp_path / "again.json")
    assert again.exit_code == 0
    other = json.loads((tmp_path / "again.json").read_text())
    for name in ("real_time_factor", "peak_memory_mb"):
        del figures[name], other[name]
    assert figures == other, "the same bag, seed and machine, but not the same numbers"


def test_the_executor_can_be_left_out_and_a_part_chosen(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint)
    path = tmp_path / "replay.json"
    result = run(tmp_path / "bag", "--latency", "off", "--to", "1.0", "--json", path)
    assert result.exit_code == 0, result.output
    figures = json.loads(path.read_text())
    assert figures["executor"] is None and figures["seconds"] < 1.01
    assert 0 < figures["plans"] < 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--instruction", "touch it"], "add --every SECONDS"),
        (["--latency", "soon"], "latency is 'soon'"),
        (["--checkpoint", "nothing"], "nothing"),
        (["--robot", "ur5"], "was trained for franka, not for ur5"),
        (["--namespace", "arm"], "nothing below /arm/; it has /"),
        (["--from", "99"], "no message in the part"),
        (["--from", "1.0", "--to", "1.5"], "no plan could be made"),
    ],
)
def test_mistakes_are_one_sentence(tiny_checkpoint, tmp_path, words, sentence):
    record(tmp_path / "bag", tiny_checkpoint, ["touch it"])
    result = run(tmp_path / "bag", *words)
    assert result.exit_code == 1 and isinstance(result.exception, Dm0Error)
    assert sentence in str(result.exception)
