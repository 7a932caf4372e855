# SPDX-License-Identifier: Apache-2.0
"""`dm0 eval bags` as it is typed: figures and a page, names of what failed, and how far it is."""

import json

import pytest
from replay_recordings import record
from typer.testing import CliRunner

from dm0_ros.cli import app
from dm0_ros.commands.evaluation_display import describe
from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.scale import Course


def run(*words):
    return CliRunner().invoke(app, ["eval", "bags", *map(str, words)])


@pytest.fixture
def bags(tiny_checkpoint, tmp_path):
    paths = [tmp_path / "one" / "bag", tmp_path / "two" / "bag"]
    for path in paths:
        record(path, tiny_checkpoint, ["touch it"], 0.6)
    return paths


@pytest.mark.slow
def test_figures_and_a_page_of_what_could_be_evaluated(bags, tmp_path):
    out, path = tmp_path / "out", tmp_path / "new" / "figures.json"
    (tmp_path / "empty").mkdir()
    words = ["--out", out, "--latency", "off", "--jobs", 2]
    result = run(*bags, tmp_path / "empty", *words, "--json", path)
    assert result.exit_code == 1 and isinstance(result.exception, Dm0Error)
    assert str(result.exception) == "1 of 3 replays failed, see above"
    assert f"failed: {tmp_path / 'empty'} (checkpoint): " in result.output
    figures = json.loads(path.read_text())
    assert figures == json.loads((out / "evaluation/figures.json").read_text())
    assert [bag["bag"] for bag in figures["checkpoint"]["by_bag"].values()] == list(map(str, bags))
    assert "<html" in (out / "evaluation/report.html").read_text()
    again = run(*bags, *words)
    assert again.exit_code == 0, again.output
    assert "2 of 2 replays were done by an earlier run" in again.output
    assert json.loads((out / "evaluation/figures.json").read_text()) == figures
    other = run(*bags, *words, "--seed", 1)
    assert "another setting (checkpoint: wishes.seed was None, now 1)" in str(other.exception)
    other = run(*bags, *words, "--threads", 2)
    assert "threads was 1, now 2" in str(other.exception)
    other = run(*bags, *words, "--seed", 1, "--against", "no-such", "--no-resume")
    assert "failed: " in other.output and "(against)" in other.output
    assert "no bag could be evaluated under every setting" in str(other.exception)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--instruction", "touch it"], "add --every SECONDS"),
        (["--latency", "soon"], "latency is 'soon'"),
        (["--address", "10.0.0.1:6379"], "add --engine ray"),
        (["--device", "cuda"], "no GPU is to be seen"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, words, sentence, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    result = run(tmp_path / "bag", "--out", tmp_path / "out", *words)
    assert result.exit_code == 1 and isinstance(result.exception, Dm0Error)
    assert sentence in str(result.exception)


def test_how_far_it_is(monkeypatch):
    monkeypatch.setattr("dm0_ros.evaluation.scale.time.monotonic", lambda: 7000.0)
    course = Course(8, 2, 120.0, done=1)
    assert describe(course) == "3 of 8 replays, 0 of 120 s"
    course.reached, course.began = 40.0, 6940.0
    assert describe(course) == "3 of 8 replays, 40 of 120 s, 2:00 left"
    course.began, course.lost, course.failed = 1000.0, 1, {"a (checkpoint)": "why"}
    said = "3 of 8 replays, 40 of 120 s, 3:20:00 left, 1 failed, 1 worker lost"
    assert describe(course) == said


def test_another_checkpoint_in_the_same_folder_is_noticed(bags, tiny_checkpoint, tmp_path):
    words = [bags[0], "--out", tmp_path / "out", "--latency", "off", "--checkpoint"]
    # ended before anything is evaluated: what is asked is written down first
    (bags[0] / "metadata.yaml").write_text("nothing")
    first = run(*words, tiny_checkpoint)
    assert "no bag could be evaluated" in str(first.exception)
    settings = tiny_checkpoint / "policy.yaml"
    settings.write_text(settings.read_text() + "\n")
    again = run(*words, tiny_checkpoint)
    assert "another setting (checkpoint: digest was " in str(again.exception)
