# SPDX-License-Identifier: Apache-2.0
"""`dm0 record` on a live graph: what it adds, what survives, and what it says is missing."""

import json
import signal
import sys
import time

import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, String
from std_srvs.srv import SetBool
from test_recorder_graph import recorded_by

from dm0_ros.action import ExecuteInstruction
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.policy.marks import Mark
from dm0_ros.policy.trace import digest_checkpoint
from dm0_ros.replay.bag import look_into, read_messages
from dm0_ros.replay.marks import read_marks
from dm0_ros.replay.salvage import repair
from dm0_ros.resources import find_resource

BEFORE = 1.0  # s before a kill of which nothing may be lost


def record(graph, *words):
    process = graph.run(sys.executable, "-m", "dm0_ros.cli", "record", *map(str, words))
    graph.wait(lambda: "recording to" in process.output)
    return process


def test_killed_recorder_loses_the_last_second_at_most(graph, tmp_path):
    process = graph.start("recorder", f"path:={tmp_path / 'bag'}")
    values = graph.publisher(Float64, "value", COMMAND)
    graph.wait(lambda: recorded_by(graph, "/value"))
    published = []
    while len(published) < 300:
        published.append(time.monotonic())
        values.publish(Float64(data=float(len(published))))
        graph.spin(0.01)
    killed = time.monotonic()
    process.end(signal.SIGKILL)
    found = [message.content.data for message in read_messages(tmp_path / "bag", ["/value"])]
    assert found == [float(k) for k in range(1, len(found) + 1)]
    assert len(found) >= sum(moment < killed - BEFORE for moment in published)
    contents = look_into(tmp_path / "bag")
    assert any("was not closed" in sentence for sentence in contents.missing)
    assert contents.custom["dm0_ros.version"]
    assert repair(tmp_path / "bag") == contents.missing
    assert look_into(tmp_path / "bag").counts["/value"] == len(found)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
from dm0_ros.nodes.recorder import main
sys.exit(main(["recorder", "--ros-args", "-p", "path:={path}"]))
"""


def test_full_disk_ends_the_recorder_with_a_sentence(graph, tmp_path):
    path = tmp_path / "bag"
    process = graph.run(sys.executable, "-c", LIMITED.format(path=path))
    texts = graph.publisher(String, "text", COMMAND)
    count = 0
    import random

    source = random.Random(0)
    while process.running():
        texts.publish(String(data=source.randbytes(5000).hex()))
        count += 1
        graph.spin(0.005)
    assert process.wait() == 1
    assert f"cannot go on recording to {path}: File too large" in process.output
    assert "Traceback" not in process.output
    assert 0 < look_into(path).counts["/text"] < count
    assert any("File too large" in sentence for sentence in look_into(path).missing)


def test_teleoperation_is_marked_by_hand_and_says_what_it_lacks(graph, tmp_path):
    path = tmp_path / "bag"
    words = ["--teleoperation", "--instruction", "fold the towel", "--checkpoint", "nano-franka"]
    process = record(graph, "franka", "--out", path, "--split-seconds", 0.5, *words)
    joints = graph.publisher(JointState, "joint_states", SENSOR)
    graph.wait(lambda: recorded_by(graph, "/episode"))

    def mark(begin):
        return graph.call(SetBool, "recorder/episode", SetBool.Request(data=begin))

    assert not mark(False).success
    for _ in range(2):
        assert mark(True).success
        refused = mark(True)
        assert not refused.success and refused.message == "an episode runs already"
        for _ in range(20):
            joints.publish(JointState(name=["a"], position=[1.0]))
            graph.spin(0.02)
        assert mark(False).success
    assert mark(True).success
    assert process.end(signal.SIGINT) == 0, process.output

    contents = look_into(path)
    assert len(list(path.glob("*.mcap"))) > 1
    assert contents.counts["/joint_states"] == 40
    custom = contents.custom
    assert custom["dm0_ros.teleoperation"] == "true" and custom["dm0_ros.robot"] == "franka"
    assert find_resource("config", "franka.yaml").read_text() in custom["dm0_ros.robot_yaml"]
    digest = digest_checkpoint(find_resource("checkpoints", "nano-franka"))
    assert custom["dm0_ros.checkpoint_sha256"] == digest
    marks = read_marks(path)
    assert [m.instruction for m in marks] == ["fold the towel"] * 3
    assert [m.source for m in marks] == ["teleoperation"] * 3
    assert marks[0].begin < marks[0].end < marks[1].begin < marks[1].end < marks[2].begin
    assert marks[2].end is None
    assert [Mark(**m) for m in json.loads(custom["dm0_ros.episodes"])] == marks
    slots = [s for s in contents.missing if s.startswith("no message of camera/")]
    assert slots and "no message of joint_states came" not in contents.missing


def test_namespace_actions_and_what_all_share(graph, tmp_path):
    process = record(graph, "franka", "--out", tmp_path / "bag", "--namespace", "left")
    kind = ExecuteInstruction.Impl.FeedbackMessage
    told = graph.publisher(kind, "/left/execute_instruction/_action/feedback", COMMAND)
    own = graph.publisher(String, "/left/words", COMMAND)
    graph.publisher(String, "/diagnostics", COMMAND)
    other = graph.node.create_publisher(String, "/right/words", COMMAND)
    feedback = kind()
    feedback.feedback.subtask = "reach"
    told.publish(feedback)
    own.publish(String(data="hello"))
    other.publish(String(data="not for us"))
    graph.wait(lambda: told.wait_for_all_acked() and own.wait_for_all_acked())
    assert process.end(signal.SIGINT) == 0, process.output
    contents = look_into(tmp_path / "bag")
    assert "/diagnostics" in contents.topics and "/right/words" not in contents.topics
    (message,) = read_messages(tmp_path / "bag", ["/left/words"])
    assert message.content.data == "hello"
    (message,) = read_messages(tmp_path / "bag", ["/left/execute_instruction/_action/feedback"])
    assert message.content.feedback.subtask == "reach"


def test_chosen_topics_alone(graph, tmp_path):
    words = graph.node.create_publisher(String, "words", STATUS)
    graph.node.create_publisher(String, "others", STATUS)
    words.publish(String(data="early"))
    chosen = ["--topics", "words", "--topics", "/later"]
    process = record(graph, "franka", "--out", tmp_path / "bag", *chosen)
    graph.wait(lambda: recorded_by(graph, "/words"))
    graph.publisher(String, "later", COMMAND)
    assert process.end(signal.SIGTERM) == 0, process.output
    assert set(look_into(tmp_path / "bag").topics) == {"/words", "/later"}
    assert look_into(tmp_path / "bag").missing == ()


def test_a_topic_that_only_has_the_name_of_marks_costs_no_bag(graph, tmp_path):
    process = graph.start("recorder", f"path:={tmp_path / 'bag'}")
    words = graph.publisher(String, "episode", COMMAND)
    words.publish(String(data="tonight at eight"))
    graph.wait(lambda: "not about our episodes" in process.output)
    assert process.end() == 0
    assert look_into(tmp_path / "bag").counts["/episode"] == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--repair", "absent"], "absent: there is no recording in it"),
        (["--instruction", "x"], "--instruction is for --teleoperation"),
        (["nobody"], "No 'nobody"),
    ],
)
def test_wrong_words_at_the_terminal(graph, words, sentence):
    process = graph.run(sys.executable, "-m", "dm0_ros.cli", "record", *words)
    assert process.wait() == 1
    assert sentence in process.output
