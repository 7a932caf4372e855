# SPDX-License-Identifier: Apache-2.0
"""LeRobot v3 folders: what was written is read, from files with many episodes."""

import json
import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from source_samples import (
    FPS,
    LAYOUT,
    make_states,
    paint,
    write_small_dexdata,
    write_small_lerobot,
)

pytest.importorskip("av", reason="of the extra 'train'")
pytest.importorskip("pyarrow", reason="of the extra 'train'")

from pyarrow import parquet

from dm0_ros.training.sources.lerobot_writer import Description, Episode, write_lerobot
from dm0_ros.training.sources.loader import Loader, LoaderSettings
from dm0_ros.training.sources.mixture import Mixture
from dm0_ros.training.sources.opening import open_source
from dm0_ros.training.sources.sample import BrokenEpisodeError, SourceError
from dm0_ros.training.sources.settings import ActionSource, SourceKind, SourceSettings

CAMERA = "observation.images.front"
LENGTHS = (12, 9, 15)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_small_lerobot(tmp_path_factory.mktemp("data") / "pour")


@pytest.fixture
def folder(tmp_path):
    """One of its own, to break."""
    return write_small_lerobot(tmp_path / "pour")


def describe(folder, **changes):
    settings = SourceSettings(
        kind=SourceKind.LEROBOT,
        path=str(folder),
        cameras={CAMERA: "right_hand"},
        robot="franka",
        layout="joint",
        step=1 / FPS,
        rows=4,
    )
    return replace(settings, **changes)


def assert_is(sample, episode, frame, states):
    assert sample.instruction == f"task {episode % 2}" and sample.dataset == "pour"
    np.testing.assert_array_equal(sample.state, states[frame])
    last = len(states) - 1
    np.testing.assert_allclose(
        sample.rows, states[np.minimum(frame + 1 + np.arange(4), last)], atol=1e-5
    )
    (slot,) = sample.pictures
    assert slot == "right_hand"
    picture = sample.pictures[slot]
    assert picture.dtype == np.uint8
    assert abs(picture.astype(float) - paint(episode, frame)).max() < 4, (
        "another frame, or blurred"
    )


@pytest.mark.parametrize("codec", ["h264", "libsvtav1"])
def test_every_frame_comes_back(tmp_path, codec):
    source = open_source(describe(write_small_lerobot(tmp_path / "pour", codec=codec)))
    assert len(source) == len(LENGTHS) and source.layout == LAYOUT
    for episode, length in enumerate(LENGTHS):
        states = make_states(episode, length)
        samples = list(source.episode(episode))
        assert len(samples) == source.size(episode) == length - 1
        assert source.name_sample(episode, 3) == f"pour episode {episode}: frame 3"
        for frame, sample in enumerate(samples):
            assert_is(sample, episode, frame, states)


def test_frames_are_found_out_of_order_and_after_pickling(written):
    source = pickle.loads(pickle.dumps(open_source(describe(written))))
    for episode, frames in ((2, [3]), (0, [0, 4, 10]), (1, [7]), (2, [13])):
        for frame, sample in zip(frames, source.take(episode, frames), strict=True):
            assert_is(sample, episode, frame, make_states(episode, LENGTHS[episode]))


def test_far_frames_of_a_long_episode_are_found(tmp_path):
    count = 200
    states = make_states(0, count)
    pictures = [np.full((48, 64, 3), frame + 20, np.uint8) for frame in range(count)]
    description = Description(FPS, LAYOUT.columns, LAYOUT.columns, {"front": (48, 64)})
    episode = Episode("go", states, states, {"front": pictures})
    write_lerobot(tmp_path / "long", [episode], description)
    source = open_source(describe(tmp_path / "long"))
    frames = [0, 1, 99, 100, 160, 198]
    found = [sample.pictures["right_hand"].mean() - 20 for sample in source.take(0, frames)]
    np.testing.assert_allclose(found, frames, atol=2.0)


def test_many_files_are_one_source(tmp_path):
    """A limit of no megabytes puts each episode into files of its own."""
    folder = write_small_lerobot(tmp_path / "pour", data_megabytes=0, video_megabytes=0)
    assert len(list(folder.glob("data/*/*.parquet"))) == len(LENGTHS)
    assert len(list(folder.glob("videos/*/*/*.mp4"))) == len(LENGTHS)
    source = open_source(describe(folder))
    for episode, length in enumerate(LENGTHS):
        (sample,) = source.take(episode, [5])
        assert_is(sample, episode, 5, make_states(episode, length))


def test_one_row_group_for_all_episodes_is_read_as_well(folder):
    """As lerobot's converter from version 2.1 writes them."""
    (path,) = folder.glob("data/*/*.parquet")
    parquet.write_table(parquet.read_table(path), path)
    source = open_source(describe(folder))
    (sample,) = source.take(2, [6])
    assert_is(sample, 2, 6, make_states(2, LENGTHS[2]))


def test_own_actions_under_other_names_and_in_another_order(tmp_path):
    names = [f"motor_{name}" for name in reversed(LAYOUT.columns)]
    folder = write_small_lerobot(tmp_path / "pour", states=tuple(names), actions=tuple(names))
    renamed = {name: f"motor_{name}" for name in LAYOUT.columns}
    settings = describe(folder, columns=renamed, actions=ActionSource.ACTION)
    numbers = open_source(settings).numbers(1)
    states = make_states(1, LENGTHS[1])[:, ::-1]
    np.testing.assert_array_equal(numbers.states, states)
    np.testing.assert_allclose(numbers.rows[0], states[:4] + 100, atol=1e-4)


def test_names_may_be_grouped_or_absent(folder):
    path = folder / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["observation.state"]["names"] = {"motors": list(LAYOUT.columns)}
    path.write_text(json.dumps(info))
    np.testing.assert_array_equal(
        open_source(describe(folder)).numbers(0).states, make_states(0, LENGTHS[0])[:-1]
    )
    info["features"]["observation.state"]["names"] = None
    path.write_text(json.dumps(info))
    with pytest.raises(SourceError, match=r"has no fr3_joint1, .*only 0, 1, 2"):
        open_source(describe(folder))
    positions = {name: str(index) for index, name in enumerate(LAYOUT.columns)}
    open_source(describe(folder, columns=positions))


def test_pictures_may_lie_in_the_tables(folder):
    import cv2
    import pyarrow

    info = json.loads((folder / "meta/info.json").read_text())
    info["features"][CAMERA]["dtype"] = "image"
    (folder / "meta/info.json").write_text(json.dumps(info))
    (path,) = folder.glob("data/*/*.parquet")
    table = parquet.read_table(path)
    frames = zip(table["episode_index"].to_pylist(), table["frame_index"].to_pylist(), strict=True)
    stored = [
        {"bytes": cv2.imencode(".png", paint(*place))[1].tobytes(), "path": None}
        for place in frames
    ]
    parquet.write_table(table.append_column(CAMERA, pyarrow.array(stored)), path)
    (sample,) = open_source(describe(folder)).take(1, [4])
    assert_is(sample, 1, 4, make_states(1, LENGTHS[1]))


def remove_video(folder):
    next(folder.glob("videos/*/*/*.mp4")).unlink()


def cut_video(folder):
    path = next(folder.glob("videos/*/*/*.mp4"))
    path.write_bytes(path.read_bytes()[:500])


def remove_data(folder):
    next(folder.glob("data/*/*.parquet")).unlink()


def move_video(folder):
    (path,) = folder.glob("meta/episodes/*/*.parquet")
    table = parquet.read_table(path).to_pylist()
    for row in table:
        row[f"videos/{CAMERA}/from_timestamp"] += 30.0
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist(table), path)


def forget_task(folder):
    import pyarrow

    parquet.write_table(
        pyarrow.table({"task_index": [9], "task": ["another"]}), folder / "meta/tasks.parquet"
    )


BREAKS = {
    "its video .*mp4 is missing": remove_video,
    "its video .* cannot be decoded": cut_video,
    "parquet cannot be read": remove_data,
    r"has no frame at 3\d\.\d+ s": move_video,
    "its task 1 is not in meta/tasks.parquet": forget_task,
}


@pytest.mark.parametrize("message", BREAKS)
def test_a_broken_episode_is_named(folder, message):
    BREAKS[message](folder)
    with pytest.raises(BrokenEpisodeError, match=f"pour episode 1: .*{message}"):
        list(open_source(describe(folder)).take(1, [0]))


def test_an_episode_is_never_in_memory_as_a_whole(tmp_path):
    count, height, width = 80, 240, 320
    picture = np.zeros((height, width, 3), np.uint8)
    states = make_states(0, count)
    description = Description(FPS, LAYOUT.columns, LAYOUT.columns, {"front": (height, width)})
    episode = Episode("go", states, states, {"front": (picture for _ in range(count))})
    write_lerobot(tmp_path / "big", [episode], description)
    source = open_source(describe(tmp_path / "big"))
    next(iter(source.episode(0)))  # imports and what is kept of the episode
    tracemalloc.start()
    try:
        assert sum(1 for _ in source.episode(0)) == count - 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * picture.nbytes < count * picture.nbytes / 9


def test_a_loader_takes_folders_of_both_kinds(written, tmp_path):
    """They go to other processes, which open what they need."""
    robot = {"robot": "franka", "layout": "joint", "step": 0.1, "rows": 4}
    dexdata = SourceSettings(
        SourceKind.DEXDATA,
        str(write_small_dexdata(tmp_path)),
        cameras={"images_1": "high"},
        fps=10.0,
        **robot,
    )
    mixture = Mixture([open_source(describe(written)), open_source(dexdata)], seed=0)
    batches = [
        list(Loader(mixture, list_parts, LoaderSettings(batch=5, workers=workers)).run(0, 4))
        for workers in (0, 2)
    ]
    assert {name for batch in batches[0] for name, *_ in batch} == {"pour", tmp_path.name}
    for alone, others in zip(*batches, strict=True):
        for (name, rows, picture), (same, *arrays) in zip(alone, others, strict=True):
            assert name == same
            np.testing.assert_array_equal(rows, arrays[0])
            np.testing.assert_array_equal(picture, arrays[1])


def list_parts(draw):
    return [(item.dataset, item.rows, *item.pictures.values()) for item in draw.samples]


def test_a_folder_that_is_none_is_refused(tmp_path, folder):
    with pytest.raises(SourceError, match=r"path: there is no folder .*nowhere"):
        open_source(describe(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match=r"info.json: cannot be read"):
        open_source(describe(tmp_path))
    with pytest.raises(SourceError, match="the data have no camera 'top', only observation"):
        open_source(describe(folder, cameras={"top": "high"}))
    with pytest.raises(SourceError, match=r"fps: is 30, but .* says 10"):
        open_source(describe(folder, fps=30.0))
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps(info | {"codebase_version": "v2.1"}))
    with pytest.raises(SourceError, match=r"is of format v2\.1, this reads v3; convert it"):
        open_source(describe(folder))


def test_what_was_written_says_what_it_holds(written):
    info = json.loads((written / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == FPS
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 36, 2)
    stats = json.loads((written / "meta/stats.json").read_text())
    states = np.concatenate([make_states(i, length) for i, length in enumerate(LENGTHS)])
    entry = stats["observation.state"]
    np.testing.assert_allclose(entry["mean"], states.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(entry["std"], states.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(entry["max"], states.max(axis=0), atol=1e-6)
    assert entry["count"] == [36]
    assert np.shape(stats[CAMERA]["mean"]) == (3, 1, 1)


def test_a_wrong_episode_leaves_no_folder(tmp_path):
    description = Description(FPS, LAYOUT.columns, LAYOUT.columns, {"front": (48, 64)})
    states = make_states(0, 5)
    wrong = {
        "its actions have shape": Episode("go", states, states[:, :3], {"front": []}),
        "has cameras none": Episode("go", states, states, {}),
        "camera front has 2 pictures for 5": Episode(
            "go", states, states, {"front": [paint(0, 0)] * 2}
        ),
        "a picture is uint8": Episode("go", states, states, {"front": [paint(0, 0)[:2]]}),
    }
    for number, (message, episode) in enumerate(wrong.items()):
        folder = tmp_path / str(number)
        with pytest.raises(SourceError, match=message):
            write_lerobot(folder, [episode], description)
        assert not folder.exists()
    with pytest.raises(SourceError, match="the codec 'papyrus' is unknown here"):
        write_small_lerobot(tmp_path / "papyrus", codec="papyrus")
    (tmp_path / "there").mkdir()
    with pytest.raises(SourceError, match="exists; remove it"):
        write_lerobot(tmp_path / "there", [], description)
