# SPDX-License-Identifier: Apache-2.0
"""Settings of sources: what a YAML may say, and what is said where it is wrong."""

import pytest
from source_samples import write_small_dexdata

from dm0_ros.robots.parsing import load_yaml
from dm0_ros.training.sources.opening import open_sources
from dm0_ros.training.sources.sample import SourceError
from dm0_ros.training.sources.settings import ActionSource, SourceKind, SourceList

GOOD = """
sources:
  - kind: lerobot
    path: /data/pour
    robot: franka
    layout: joint
    step: 0.1
    cameras: {observation.images.front: right_hand}
    actions: action
    skip_broken: true
  - {kind: dexdata, path: /data/questions, cameras: {images_1: main}, weight: 0.5}
  - {kind: recordings, path: out/recording, name: sim}
"""


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_a_yaml_names_sources(tmp_path):
    first, second, third = load_yaml(SourceList, write(tmp_path, GOOD), SourceError).sources
    assert first.kind is SourceKind.LEROBOT and first.actions is ActionSource.ACTION
    assert first.title == "pour" and first.rows == 50 and first.skip_broken
    assert first.find_layout().columns[0] == "fr3_joint1"
    assert second.find_layout() is None and second.weight == 0.5
    assert third.title == "sim"


WRONG = {
    "    step: 0.1\n": ("", "sources[0].step: is missing, which robot franka needs"),
    "step: 0.1": ("step: 0.0", "sources[0].step: is 0.0; it must be positive"),
    "layout: joint": ("layout: knees", "its layouts are joint, pose"),
    "robot: franka": ("robot: unknown_robot", "unknown_robot"),
    "{observation.images.front: right_hand}": (
        "{observation.images.front: nose}",
        "sources[0].cameras.observation.images.front: franka has no camera slot 'nose'",
    ),
    "    actions: action": ("    actions: guess", "not one of next_state, action"),
    "skip_broken: true": ("degrees: [elbow]", "unknown column elbow"),
    "kind: dexdata": ("kind: rlds", "'rlds' is not one of lerobot, episodes, dexdata, recordings"),
    "name: sim": ("robot: franka", "is said by the recording itself"),
    "weight: 0.5": ("weight: -1.0", "sources[1].weight"),
    "images_1: main": ("images_1: main, images_2: main", "more than one camera is main"),
}


@pytest.mark.parametrize("old", WRONG)
def test_what_is_wrong_is_said_with_file_line_and_key(tmp_path, old):
    new, message = WRONG[old]
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SourceError) as caught:
        open_sources(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_a_base_has_no_velocity_in_its_state(tmp_path):
    text = GOOD.replace("robot: franka", "robot: mobile_aloha").replace("right_hand", "high")
    text = text.replace("layout: joint", "layout: mobile")
    with pytest.raises(SourceError, match=r"no state has .*vx.*; write 'actions: action'"):
        open_sources(write(tmp_path, text.replace("actions: action", "actions: next_state")))


def test_a_folder_that_does_not_fit_is_said_with_file_line_and_key(tmp_path):
    folder = write_small_dexdata(tmp_path / "dex")
    entry = "sources: [{kind: dexdata, path: PATH, name: talk},\n  {kind: dexdata, path: PATH"
    entry = entry.replace("PATH", str(folder))
    more = ", robot: franka, layout: joint, step: 0.1"
    assert [source.name for source in open_sources(write(tmp_path, entry + "}]"))] == [
        "talk",
        "dex",
    ]
    with pytest.raises(
        SourceError, match=r"run\.yaml:2: sources\[1\]\.fps: is missing, and Dexdata"
    ):
        open_sources(write(tmp_path, entry + more + "}]"))
    with pytest.raises(SourceError, match=r"run\.yaml:2: sources\[1\]\.path: there is no folder"):
        open_sources(write(tmp_path, entry + "_gone}]"))
