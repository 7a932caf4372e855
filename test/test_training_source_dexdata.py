# SPDX-License-Identifier: Apache-2.0
"""Dexdata: robots' frames, questions about pictures, and lines that are of no use."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from source_samples import FPS, LAYOUT, make_states, paint, write_small_dexdata

from dm0_ros.training.sources.dialogue import read_dialogue
from dm0_ros.training.sources.opening import open_source
from dm0_ros.training.sources.sample import BrokenEpisodeError, SourceError
from dm0_ros.training.sources.settings import ActionSource, SourceKind, SourceSettings


def describe(folder, **changes):
    settings = SourceSettings(
        kind=SourceKind.DEXDATA,
        path=str(folder),
        name="dex",
        cameras={"images_1": "right_hand"},
        robot="franka",
        layout="joint",
        step=1 / FPS,
        fps=FPS,
        rows=4,
    )
    return replace(settings, **changes)


def edit_line(folder, episode, number, change):
    (path,) = folder.glob(f"*/episode{episode}.jsonl")
    lines = path.read_text().splitlines()
    line = json.loads(lines[number])
    change(line)
    lines[number] = json.dumps(line)
    path.write_text("\n".join(lines))


def test_a_robots_frames_are_samples(tmp_path):
    source = open_source(describe(write_small_dexdata(tmp_path)))
    assert [source.size(i) for i in range(len(source))] == [11, 8]
    states = make_states(1, 9)
    for frame, sample in enumerate(source.episode(1)):
        assert sample.instruction == "task 1" and sample.answer is None
        np.testing.assert_array_equal(sample.pictures["right_hand"], paint(1, frame))
        np.testing.assert_allclose(sample.state, states[frame], atol=1e-6)
        np.testing.assert_allclose(sample.rows[0], states[frame + 1], atol=1e-6)
    assert frame == 7


def test_answers_and_actions_of_the_data_are_kept(tmp_path):
    action = np.arange(8.0).tolist()
    folder = write_small_dexdata(tmp_path, answer="reach for it", action=action)
    source = open_source(describe(folder, actions=ActionSource.ACTION))
    (sample,) = source.take(0, [3])
    assert sample.answer == "reach for it"
    np.testing.assert_array_equal(sample.rows, np.tile(action, (4, 1)))


def test_columns_may_lie_elsewhere(tmp_path):
    folder = write_small_dexdata(tmp_path)
    order = {name: str(7 - index) for index, name in enumerate(LAYOUT.columns)}
    numbers = open_source(describe(folder, columns=order)).numbers(0)
    np.testing.assert_allclose(numbers.states, make_states(0, 12)[:-1, ::-1], atol=1e-6)


def test_frames_of_videos_go_by_their_numbers(tmp_path):
    pytest.importorskip("av", reason="of the extra 'train'")
    from dm0_ros.training.sources.video_writer import VideoWriter

    folder = write_small_dexdata(tmp_path, lengths=(12,))
    writer = VideoWriter(lambda number: tmp_path / f"{number}.mp4", 25, (48, 64), "h264", 10**9)
    writer.begin()
    writer.add(paint(0, frame) for frame in range(30))
    writer.close()
    entry = {"type": "video", "url": "0.mp4"}
    wanted = [0, 1, 2, 10, 11, 12, 20, 21, 3, 4, 5, 29]  # back once: another go through the video
    for number, frame in enumerate(wanted):
        edit_line(
            folder, 0, number, lambda line, n=frame: line.update(images_1=entry | {"frame_idx": n})
        )
    samples = open_source(describe(folder, actions=ActionSource.NEXT_STATE)).episode(0)
    means = [sample.pictures["right_hand"].mean() - 40 for sample in samples]
    np.testing.assert_allclose(means, wanted[:-1], atol=2.0)


def test_questions_have_answers_and_no_rows(tmp_path):
    talk = [
        {"from": "human", "value": "<image>\nWhat is on the table?"},
        {"from": "gpt", "value": "A red box."},
        {"from": "human", "value": "And beside it?"},
        {"from": "gpt", "value": "Nothing."},
    ]
    folder = write_small_dexdata(tmp_path, conversations=talk, is_robot=False)
    source = open_source(describe(folder, robot=None, layout=None, cameras={"images_1": "any"}))
    assert source.layout is None and source.numbers(0) is None and source.size(1) == 9
    sample = list(source.episode(1))[8]
    assert sample.instruction == "What is on the table?\nA red box.\nAnd beside it?"
    assert (sample.answer, sample.rows, sample.state, sample.dataset) == (
        "Nothing.",
        None,
        None,
        "dex",
    )
    np.testing.assert_array_equal(sample.pictures["any"], paint(1, 8))


def test_a_line_may_lack_a_view(tmp_path):
    folder = write_small_dexdata(tmp_path)
    edit_line(folder, 0, 2, lambda line: line.pop("images_1"))
    samples = list(open_source(describe(folder)).take(0, [1, 2, 3]))
    assert [list(sample.pictures) for sample in samples] == [["right_hand"], [], ["right_hand"]]


def test_of_a_file_only_the_lines_asked_for_are_read(tmp_path):
    talk = {"is_robot": False, "answer": "a box"}
    folder = write_small_dexdata(tmp_path, lengths=(12,), **talk)
    (path,) = folder.glob("*/*.jsonl")
    first, second, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("\r\n".join([first.strip(), "", second.strip(), "no JSON\n"]) + "".join(rest))
    source = open_source(describe(folder, robot=None, layout=None))
    assert source.size(0) == 13, "a blank line is none"
    fresh = pickle.dumps(source)
    for index, frame in ((0, 0), (1, 1), (3, 2), (12, 11)):
        (sample,) = source.take(0, [index])
        np.testing.assert_array_equal(sample.pictures["right_hand"], paint(0, frame))
    assert pickle.dumps(source) == fresh, "a worker gets nothing that was read"
    with pytest.raises(BrokenEpisodeError, match=r"dex part0.*: line 3 cannot be read"):
        list(source.take(0, [2]))


def test_a_robot_is_pickled_without_what_was_read(tmp_path):
    source = open_source(describe(write_small_dexdata(tmp_path, lengths=(200,))))
    fresh = pickle.dumps(source)
    samples = list(source.take(0, [3, 150]))
    assert len(samples) == 2 and pickle.dumps(source) == fresh
    again = next(pickle.loads(fresh).take(0, [150]))
    np.testing.assert_array_equal(again.rows, samples[1].rows)
    np.testing.assert_array_equal(again.pictures["right_hand"], paint(0, 150))


@pytest.mark.parametrize("robot", [{}, {"robot": None, "layout": None}])
def test_a_camera_that_no_line_has_is_refused(tmp_path, robot):
    folder = write_small_dexdata(tmp_path)
    cameras = {"images_1": "right_hand", "image_2": "high"}
    flaw = r"^cameras\.image_2: dex part0/episode0\.jsonl has no camera 'image_2', only images_1$"
    with pytest.raises(SourceError, match=flaw):
        open_source(describe(folder, cameras=cameras, **robot))
    (folder / "part0" / "episode0.jsonl").write_text("no JSON\n")
    with pytest.raises(SourceError, match=r"episode1\.jsonl has no camera 'image_2'"):
        open_source(describe(folder, cameras=cameras, **robot))
    edit_line(folder, 1, 5, lambda line: line.update(image_2=line["images_1"]))
    open_source(describe(folder, cameras=cameras, **robot))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"prompt": " "}, "has no 'prompt'"),
        ({"prompt": "go", "answer": 3}, "'answer' is no text"),
        ({"conversations": []}, "must go from human to gpt in turn, found nothing"),
        ({"conversations": [{"from": "gpt", "value": "hi"}]}, "must go from human to gpt"),
        ({"conversations": [{"value": "hi"}]}, "has no 'from'"),
    ],
)
def test_what_is_no_dialogue_is_refused(line, message):
    with pytest.raises(BrokenEpisodeError, match=f"here: .*{message}"):
        read_dialogue(line, "here")


BROKEN = {
    "line 3 does not say 'is_robot'": lambda line: line.pop("is_robot"),
    "line 3 has no 'state'": lambda line: line.pop("state"),
    "state is not as wide everywhere": lambda line: line["state"].pop(),
    "state of fr3_joint1 is nan": lambda line: line["state"].__setitem__(0, float("nan")),
    "line 3 has 'is_robot: false'; put": lambda line: line.update(is_robot=False),
    "neither a video nor an image": lambda line: line["images_1"].update(type="sound"),
    "picture .*gone.png cannot be read": lambda line: line["images_1"].update(url="gone.png"),
    "passwd is outside of": lambda line: line["images_1"].update(url="../../../etc/passwd"),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_episode_is_named(tmp_path, message):
    folder = write_small_dexdata(tmp_path)
    edit_line(folder, 0, 2, BROKEN[message])
    source = open_source(describe(folder))
    with pytest.raises(BrokenEpisodeError, match=rf"dex part0/episode0\.jsonl: .*{message}"):
        list(source.take(0, [2]))
    assert len(list(source.episode(1))) == 8, "the other one is as good as before"


def test_a_folder_without_lines_or_rate_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"has no \*\.jsonl"):
        open_source(describe(tmp_path))
    write_small_dexdata(tmp_path)
    with pytest.raises(SourceError, match="fps: is missing"):
        open_source(describe(tmp_path, fps=None))


def test_samples_may_lie_some_frames_apart(tmp_path):
    source = open_source(describe(write_small_dexdata(tmp_path), every=3))
    assert source.size(0) == 4
    states = make_states(0, 12)
    for index, sample in enumerate(source.episode(0)):
        np.testing.assert_array_equal(sample.pictures["right_hand"], paint(0, 3 * index))
        np.testing.assert_allclose(sample.state, states[3 * index], atol=1e-6)
        np.testing.assert_allclose(sample.rows[0], states[3 * index + 1], atol=1e-6)
    assert index == 3
    np.testing.assert_allclose(source.numbers(0).states, states[:11:3], atol=1e-6)
