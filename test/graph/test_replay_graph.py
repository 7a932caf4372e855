# SPDX-License-Identifier: Apache-2.0
"""A demo run, recorded and replayed: the observations and the plans of the live policy again."""

import json
import sys
from pathlib import Path

import pytest
from test_demo_graph import DEMO, best_checkpoint

from dm0_ros.policy.trace import Facts, digest_checkpoint
from dm0_ros.replay.bag import look_into

REPLAY = (sys.executable, "-m", "dm0_ros.cli", "replay")


@pytest.mark.slow
def test_replay_gives_the_live_plans(graph, tiny_checkpoint, tmp_path):
    out, figures = tmp_path / "out", tmp_path / "figures" / "replay.json"
    checkpoint = best_checkpoint(tiny_checkpoint)
    options = ["--episodes", "2", "--seed", "7", "--time-limit", "5", "--out", str(out)]
    demo = graph.run(*DEMO, *options, "--checkpoint", checkpoint)
    assert demo.wait(timeout=400) == 0, demo.output

    contents = look_into(out / "bag")
    facts = Facts.parse(contents.custom["dm0_ros/policy_facts"])
    assert facts.robot == "franka" and facts.checkpoint == checkpoint and facts.seed == 0
    assert facts.checkpoint_digest == digest_checkpoint(Path(checkpoint))
    assert {"dm0_ros.version", "dm0_ros.commit"} <= set(contents.custom)
    made = contents.counts["/policy_trace"]
    assert made >= 2

    command = [*REPLAY, str(out / "bag"), "--checkpoint", checkpoint, "--latency", "0"]
    replay = graph.run(*command, "--json", str(figures))
    assert replay.wait(timeout=300) == 0, replay.output
    found = json.loads(figures.read_text())
    # A recorder on a busy machine misses a picture or two; that it says, and the rest is exact.
    lost = sum(found["not_replayed"].values())
    assert found["plans"] == found["compared"] == made - lost > lost, replay.output
    assert found["max_abs_difference"] <= 1e-5
    assert found["identical_observations"] == found["plans"]
    assert found["real_time_factor"] > 0 and found["peak_memory_mb"] > 0
    assert found["executor"]["plans_followed"] > 0

    other = graph.run(*REPLAY, str(out / "bag"), "--robot", "ur5")
    assert other.wait(timeout=100) == 1
    assert "was trained for franka" in other.output and "Traceback" not in other.output
