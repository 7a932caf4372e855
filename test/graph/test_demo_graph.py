# SPDX-License-Identifier: Apache-2.0
"""`dm0 demo` as a person runs it: every node a process, a bag, a film and a report left behind."""

import json
import signal
import subprocess
import sys

import pytest

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.registry import find_checkpoint
from dm0_ros.replay.bag import list_topics
from dm0_ros.replay.episodes import load_episodes
from dm0_ros.replay.marks import read_marks

DEMO = (sys.executable, "-m", "dm0_ros.cli", "demo")


def best_checkpoint(toy):
    """The shipped checkpoint where it is there, else one that plans nonsense."""
    try:
        return str(find_checkpoint("dm0-nano").folder)
    except Dm0Error:
        return str(toy)


def list_processes(*which):
    """Lines of ps: process id and command line."""
    command = ["ps", "-ww", "-o", "pid=,args=", *which]
    table = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [line for line in table.splitlines() if "dm0_ros.nodes" in line]


def all_processes():
    return list_processes("-e")


def child_processes(pid):
    return list_processes("--ppid", str(pid))


@pytest.mark.slow
def test_demo_leaves_figures_bag_film_and_report(graph, tiny_checkpoint, tmp_path):
    out = tmp_path / "out"
    options = ["--episodes", "1", "--seed", "7", "--time-limit", "6", "--out", str(out)]
    figures = tmp_path / "figures" / "demo.json"
    checkpoint = best_checkpoint(tiny_checkpoint)
    command = [*DEMO, *options, "--checkpoint", checkpoint, "--json", str(figures)]
    process = graph.run(*command)
    assert process.wait(timeout=400) == 0, process.output
    found = json.loads(figures.read_text())
    assert found["episodes"] == 1
    assert set(found) == {
        *("episodes", "successes", "per_episode", "plans"),
        *("chunk_latency_ms", "command_rate_hz", "command_period_p99_ms"),
    }
    assert found["plans"] >= 1
    assert found["chunk_latency_ms"]["p99"] >= found["chunk_latency_ms"]["p50"] > 0
    (episode,) = found["per_episode"]
    assert set(episode) == {"instruction", "outcome", "first_touched", "seconds"}
    (kept,) = load_episodes(out / "episodes.json")
    assert kept.instruction == episode["instruction"]
    (mark,) = read_marks(out / "bag")
    assert (mark.source, mark.instruction) == ("execute_instruction", kept.instruction)
    assert kept.started <= mark.begin < mark.end <= kept.ended + 1.0
    assert mark.outcome in ("succeeded", "time_limit", "cancelled")
    topics = list_topics(out / "bag")
    for topic in ("/joint_states", "/action_chunk", "/executor_status", "/simulator/outcome"):
        assert topic in topics
    if find_checkpoint(checkpoint).load_settings().scaffold:
        assert "/scaffold" in topics
    assert any(topic.startswith("/overlay/") for topic in topics)
    assert any(topic.startswith("/camera/") for topic in topics)
    assert "data:image/jpeg" in (out / "report.html").read_text()
    assert (out / "demo.mp4").stat().st_size > 1000
    # a node that was ended must not have complained
    for log in (out / "logs").glob("*.log"):
        assert "Traceback" not in log.read_text(), log.read_text()


def test_node_that_fails_is_named_with_its_last_words(graph, tiny_checkpoint, tmp_path):
    (tiny_checkpoint / "norm_stats.json").write_text('{"nonsense": true}')
    options = ["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "out")]
    process = graph.run(*DEMO, "--episodes", "1", *options)
    assert process.wait(timeout=200) == 1
    assert "dm0: policy ended with status 1; it said last:" in process.output
    assert "norm_stats.json" in process.output
    assert "Traceback" not in process.output


def test_broken_settings_and_absent_tasks_end_before_anything_starts(
    graph, tiny_checkpoint, tmp_path
):
    (tiny_checkpoint / "policy.yaml").write_text("nonsense: true\n")
    for options, words in (
        (["--checkpoint", str(tiny_checkpoint)], "nonsense: unknown key"),
        (["--task", "dance"], "no checkpoint comes with the package for franka and task dance"),
        (["--checkpoint", "nano-franka", "--task", "dance"], "three_blocks: has no task 'dance'"),
        (["--robot", "mobile_base"], "'dm0 eval objectnav --robot mobile_base' to see"),
        (["--robot", "mobile_aloha"], "no checkpoint comes with the package for mobile_aloha"),
    ):
        process = graph.run(*DEMO, *options, "--out", str(tmp_path / "out"))
        assert process.wait() == 1
        assert words in " ".join(process.output.split())
        assert not (tmp_path / "out").exists()


def test_unknown_checkpoint_ends_before_anything_starts(graph, tmp_path):
    options = ["--checkpoint", "nothing", "--out", str(tmp_path / "out")]
    process = graph.run(*DEMO, *options)
    assert process.wait() == 1
    assert "nothing" in process.output
    assert not (tmp_path / "out").exists()


def test_folder_with_other_things_in_its_bag_is_not_touched(graph, tiny_checkpoint, tmp_path):
    keep = tmp_path / "bag" / "thesis.tex"
    keep.parent.mkdir()
    keep.write_text("x")
    options = ["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path)]
    process = graph.run(*DEMO, *options)
    assert process.wait() == 1
    assert "thesis.tex" in process.output
    assert keep.read_text() == "x"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_node_outlives_the_demo(graph, tiny_checkpoint, tmp_path, number):
    options = ["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "out")]
    process = graph.run(*DEMO, *options)
    graph.wait(lambda: child_processes(process.pid), "the nodes")
    assert process.end(number, timeout=60) != 0
    # the options of every node name a folder of this test
    assert [line for line in all_processes() if str(tmp_path) in line] == []
