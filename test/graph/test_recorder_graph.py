# SPDX-License-Identifier: Apache-2.0
"""The recorder node: everything that is published ends up in a bag that anyone can read."""

import signal

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import String

from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.pictures import image_from_picture
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import to_time
from dm0_ros.replay.bag import list_topics, read_messages
from dm0_ros.replay.pictures import read_frames


def recorded_by(graph, topic):
    infos = graph.node.get_subscriptions_info_by_topic(topic)
    return any(info.node_name == "recorder" for info in infos)


def test_everything_is_recorded_with_its_stamps(graph, tmp_path):
    status = graph.node.create_publisher(ExecutorStatus, "executor_status", STATUS)
    # published before the recorder is there: only a late joiner gets it
    status.publish(ExecutorStatus(reason="early", period_p99=0.0125))
    process = graph.start("recorder", f"path:={tmp_path / 'bag'}")
    graph.wait(lambda: recorded_by(graph, "/executor_status"))

    # published by someone who comes later than the recorder
    chunks = graph.publisher(ActionChunk, "action_chunk", COMMAND)
    pictures = graph.publisher(Image, "camera/high/image_raw", SENSOR)
    graph.wait(pictures.get_subscription_count)
    picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    for number in range(30):
        chunk = ActionChunk(sequence=number, names=["a"], rows=2, values=[0.5, number / 7])
        chunk.header.stamp = to_time(1000.0 + number)
        chunks.publish(chunk)
        image = image_from_picture(picture)
        image.header.stamp = to_time(2000.0 + number)
        pictures.publish(image)
        graph.spin(0.01)
    graph.wait(chunks.wait_for_all_acked)
    before = graph.node.get_clock().now().nanoseconds / 1e9
    assert process.end(signal.SIGINT) == 0, process.output
    assert "lost" not in process.output

    topics = list_topics(tmp_path / "bag")
    assert topics["/action_chunk"] == "dm0_ros/msg/ActionChunk"
    assert "/rosout" in topics
    (early,) = read_messages(tmp_path / "bag", ["/executor_status"])
    assert (early.content.reason, early.content.period_p99) == ("early", 0.0125)
    found = list(read_messages(tmp_path / "bag", ["/action_chunk"]))
    assert [m.content.sequence for m in found] == list(range(30))
    assert found[7].content.values.tolist() == [0.5, 1.0]
    assert found[7].content.header.stamp.sec == 1007
    assert before - 60 < found[0].time <= found[-1].time <= before
    frames = list(read_frames(tmp_path / "bag", "/camera/high/image_raw"))
    assert [round(frame.time) for frame in frames] == [2000 + k for k in range(30)]
    assert all(np.array_equal(frame.picture, picture) for frame in frames)


def test_topic_without_a_publisher_waits_for_one(graph, tmp_path):
    graph.collect(String, "chatter", COMMAND)
    process = graph.start("recorder", f"path:={tmp_path / 'bag'}")
    graph.wait(lambda: "recording to" in process.output)
    chatter = graph.node.create_publisher(String, "chatter", COMMAND)
    graph.wait(lambda: recorded_by(graph, "/chatter"))
    chatter.publish(String(data="hello"))
    graph.wait(lambda: chatter.wait_for_all_acked())
    assert process.end(signal.SIGTERM) == 0
    (message,) = read_messages(tmp_path / "bag", ["/chatter"])
    assert message.content.data == "hello"


def test_existing_bag_is_not_touched(graph, tmp_path):
    (tmp_path / "bag").mkdir()
    process = graph.start("recorder", f"path:={tmp_path / 'bag'}")
    assert process.wait() == 1
    assert "choose another path" in process.output
    assert not list((tmp_path / "bag").iterdir())


def test_path_is_needed(graph):
    process = graph.start("recorder")
    assert process.wait() == 1
    assert "-p path:=" in process.output
