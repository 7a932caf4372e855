# SPDX-License-Identifier: Apache-2.0
"""The same bags give the same figures, whoever computes them and whoever dies meanwhile."""

import json
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from evaluation_works import evaluate_or_die
from replay_recordings import record

from dm0_ros.evaluation.engines import EngineKind, make_engine
from dm0_ros.evaluation.evaluate import CHECKPOINT, Setting, evaluate_bag
from dm0_ros.evaluation.folder import Folder
from dm0_ros.evaluation.keeping import evaluate_next
from dm0_ros.evaluation.scale import evaluate_bags
from dm0_ros.replay.run import Wishes

HERE = Path(__file__).parent
SETTING = Setting(CHECKPOINT, Wishes())


@pytest.fixture
def bags(tiny_checkpoint, tmp_path):
    """Eight, of several lengths."""
    paths = [tmp_path / f"recording{number}" / "bag" for number in range(8)]
    for number, path in enumerate(paths):
        record(path, tiny_checkpoint, ["touch the red block"], 0.6 + 0.1 * number)
    return paths


def read(folder):
    """All files of a result, but for what says when and at which commit it was computed."""
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    content = json.loads(files["result.json"])
    del content["timing"]
    told = content["differences"]
    content["differences"] = [one for one in told if not one.startswith("another commit")]
    with np.load(folder / "plans.npz") as plans:
        arrays = {name: plans[name].tobytes() for name in plans if name != "latency_replayed"}
    return {**files, "result.json": content, "plans.npz": arrays}


def run(bags, out, kind, workers):
    with Folder(out) as folder, closing(make_engine(kind, workers, 1)) as engine:
        course = evaluate_bags(bags, {CHECKPOINT: SETTING}, folder, engine, evaluate_or_die)
    assert (course.done, course.failed) == (len(bags), {})
    places = sorted((out / "evaluation" / CHECKPOINT).iterdir())
    return course, {place.name: read(place) for place in places}


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(EngineKind))
def test_a_killed_worker_leaves_the_figures_as_they_are(bags, kind, tmp_path, monkeypatch):
    # not imported here: how it listens is decided when it is
    if kind is EngineKind.RAY and find_spec("ray") is None:
        pytest.skip("Ray is not installed (extra 'cluster')")
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    course, expected = run(bags, tmp_path / "one", EngineKind.PROCESSES, 1)
    assert not course.lost and len(expected) == 8
    (bags[3].parent / "kill").touch()
    course, found = run(bags, tmp_path / "several", kind, 2)
    assert course.lost == 1
    assert found == expected


def test_a_policy_that_saw_another_bag_gives_the_same_figures(bags, tmp_path):
    for number, bag in enumerate([bags[7], bags[0], bags[7]]):
        evaluate_next(bag, SETTING, tmp_path / str(number), lambda _share: None)
    evaluate_bag(bags[7], SETTING, tmp_path / "alone")
    alone = read(tmp_path / "alone")
    assert read(tmp_path / "0") == read(tmp_path / "2") == alone
    assert read(tmp_path / "1") != alone
