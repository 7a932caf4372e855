# SPDX-License-Identifier: Apache-2.0
"""The report shows what the bag holds, the film shows its pictures."""

import base64
import re
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image
from replay_bags import BEGIN, make, make_episode, make_header, make_image, write, write_demo_bag

from dm0_ros.errors import Dm0Error
from dm0_ros.replay import video
from dm0_ros.replay.bag import BagWriter
from dm0_ros.replay.episodes import count_successes, load_episodes, save_episodes
from dm0_ros.replay.pictures import Frame, find_view, pick_frames, read_frames
from dm0_ros.replay.report import evaluate, summarise, write_report
from dm0_ros.replay.video import write_video
from dm0_ros.robots.loading import load_robot

SPEC = load_robot("franka")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    bag = tmp_path_factory.mktemp("demo") / "bag"
    episodes = [
        make_episode(0, "red", "red"),
        make_episode(10, "blue", None, 3.0),
        make_episode(20, "red", "blue", 1.0),
    ]
    write_demo_bag(bag, SPEC, episodes)
    return bag, episodes


def read_images(page: str) -> list[Image.Image]:
    data = re.findall(r'src="data:image/\w+;base64,([^"]+)"', page)
    return [Image.open(BytesIO(base64.b64decode(text))) for text in data]


def test_report_shows_each_episode_as_it_was(demo, tmp_path):
    bag, episodes = demo
    path = tmp_path / "report.html"
    evaluation = evaluate(bag, episodes, SPEC)
    write_report(path, bag, evaluation, SPEC, {"command": "dm0 demo <3>"})
    page = path.read_text()
    assert "<h1>1 of 3 instructions followed</h1>" in page
    assert "dm0 demo &lt;3&gt;" in page
    assert "<td>blue</td><td class=number>0 of 1</td>" in page
    assert "<td>red</td><td class=number>1 of 2</td>" in page
    assert "wrong object; first touched: blue" in page
    assert "http" not in page  # needs nothing from anywhere
    pictures = [image for image in read_images(page) if image.format == "JPEG"]
    # a start and an end for each; the bag's pictures end with the last episode, before its touch
    assert len(pictures) == 5
    assert np.array(pictures[0])[20, 20].tolist() == pytest.approx([250, 5, 5], abs=6)
    assert np.array(pictures[2])[20, 20].tolist() == pytest.approx([5, 5, 250], abs=6)


def test_report_of_an_empty_bag_says_so(tmp_path):
    BagWriter(tmp_path / "bag").close()
    episodes = [make_episode(0, "red", None)]
    evaluation = evaluate(tmp_path / "bag", episodes, SPEC)
    write_report(tmp_path / "report.html", tmp_path / "bag", evaluation, SPEC, {})
    page = (tmp_path / "report.html").read_text()
    assert "No pictures were recorded" in page
    assert "Nothing was commanded" in page
    assert summarise(evaluation)["chunk_latency_ms"]["p50"] is None


def test_pictures_are_picked_at_or_after_their_moment(demo):
    bag, _ = demo
    topic = find_view(bag, SPEC.camera_slots)
    assert topic == f"/overlay/{SPEC.camera_slots[0]}/image"
    late, early, never = pick_frames(bag, topic, [BEGIN + 10.05, BEGIN - 5, BEGIN + 99])
    assert late.time == pytest.approx(BEGIN + 10.1)
    assert early.time == pytest.approx(BEGIN)
    assert never is None


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "mono8", "jpeg"])
def test_every_encoding_gives_the_same_colours(tmp_path, encoding):
    colour = [90, 90, 90] if encoding == "mono8" else [200, 100, 50]
    rgb = np.full((8, 10, 3), colour, np.uint8)
    if encoding == "jpeg":
        data = cv2.imencode(".png", rgb[..., ::-1])[1]
        message = make(
            "sensor_msgs/msg/CompressedImage", header=make_header(BEGIN), format="png", data=data
        )
    else:
        shapes = {
            "rgb8": rgb,
            "bgr8": rgb[..., ::-1],
            "rgba8": np.dstack([rgb, np.zeros((8, 10, 1), np.uint8)]),
            "mono8": rgb[..., 0],
        }
        message = make_image(BEGIN, shapes[encoding], encoding, padding=3)
    writer = BagWriter(tmp_path / "bag")
    write(writer, "/camera/high/image", BEGIN, message)
    writer.close()
    (frame,) = read_frames(tmp_path / "bag", "/camera/high/image")
    assert np.array_equal(frame.picture, rgb)


def test_unknown_encoding_names_the_topic(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    picture = np.zeros((4, 4, 3), np.uint8)
    write(writer, "/camera/high/image", BEGIN, make_image(BEGIN, picture, "yuv422"))
    writer.close()
    with pytest.raises(Dm0Error, match=r"/camera/high/image: encoding 'yuv422'"):
        list(read_frames(tmp_path / "bag", "/camera/high/image"))


def make_frames(count, rate, start=0.0):
    for k in range(count):
        yield Frame(start + k / rate, np.full((40, 60, 3), 10 * (k % 20), np.uint8))


def count_pictures(path):
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    return count


def test_film_runs_in_real_time(tmp_path):
    frames = [*make_frames(31, 15.0), *make_frames(31, 15.0, start=8.0)]
    path = write_video(tmp_path / "film.webm", frames, 10.0, lambda t: "x")
    assert path == tmp_path / "film.mp4"
    # 10 s in all: the pause is filled with the last picture before it
    assert count_pictures(path) == 101


def test_film_leaves_out_what_has_no_caption(tmp_path):
    frames = list(make_frames(151, 15.0))
    path = write_video(
        tmp_path / "film.mp4", frames, 15.0, lambda t: None if 2.0 < t < 9.0 else str(t < 5.0)
    )
    assert count_pictures(path) == 31 + 16


def test_film_without_a_codec_is_an_animated_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_CODECS", ())
    path = write_video(tmp_path / "film.mp4", make_frames(10, 5.0), 5.0, lambda t: "x")
    assert path == tmp_path / "film.webp"
    with Image.open(path) as film:
        assert film.n_frames == 10


def test_film_of_nothing_is_refused(tmp_path):
    with pytest.raises(Dm0Error, match="no pictures"):
        write_video(tmp_path / "film.mp4", [], 5.0, lambda t: "x")


def test_episodes_survive_the_disk(tmp_path):
    episodes = [make_episode(0, "red", "red"), make_episode(9, "blue", "red")]
    save_episodes(tmp_path / "episodes.json", episodes)
    assert load_episodes(tmp_path / "episodes.json") == episodes
    rates = count_successes(episodes, lambda episode: episode.wording)
    assert {name: (r.successes, r.episodes) for name, r in rates.items()} == {
        "tap the ... one": (1, 2)
    }


@pytest.mark.parametrize("text, fault", [("{", "not JSON"), ('[{"object": 1}]', "episode 0")])
def test_broken_episodes_are_named(tmp_path, text, fault):
    (tmp_path / "episodes.json").write_text(text)
    with pytest.raises(Dm0Error, match=fault):
        load_episodes(tmp_path / "episodes.json")
    with pytest.raises(Dm0Error, match=r"absent\.json"):
        load_episodes(tmp_path / "absent.json")
