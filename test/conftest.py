# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several rooms share, and the count of tests that ran over real DDS."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from tokenizer_samples import write_tokenizer

from dm0_ros.policy.normalisation import compute_stats, save_stats
from dm0_ros.robots import load_robot

# Networks of test size gain nothing from a second thread, and beside other work its barriers cost
# ten times what they save. Read when torch is imported, also by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell starts background jobs with SIGINT ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

GRAPH = Path(__file__).parent / "graph"
SETTINGS = {
    "name": "tiny",
    "robots": ["franka"],
    "layout": "joint",
    "step": 0.1,
    "normalisation": "quantile",
    "max_text_tokens": 220,
    "pad_colour": "black",
    "camera_slots": ["right_hand", "high", "left_hand"],
    "masked_slots": ["high"],
}


def write_checkpoint(folder, progress=False, width=12, vocabulary=300, words=(), **settings):
    # Imported here: tests that need no network must not pay for torch, nor fail without it.
    import torch

    from dm0_ros.model import DM0, DecoderConfig, DM0Config, VisionConfig

    torch.manual_seed(0)
    stream = DecoderConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    config = DM0Config(
        vision=VisionConfig(image_size=56, patch_size=14, width=16, layers=1, heads=2),
        llm=stream,
        expert=replace(stream, hidden_size=24),
        action_dim=width,
        chunk_size=6,
        progress=progress,
        bf16=False,
    )
    model = DM0(config)
    if progress:
        torch.nn.init.zeros_(model.model.progress_out_proj.weight)
        torch.nn.init.constant_(model.model.progress_out_proj.bias, 0.4)
    model.save_pretrained(folder)
    settings = SETTINGS | settings
    (folder / "policy.yaml").write_text(yaml.safe_dump(settings))
    columns = load_robot(settings["robots"][0]).layout(settings["layout"]).columns
    # the noise of an untrained network's rows: rad, or metres of a pose
    scale = 0.1 if settings["layout"] == "joint" else 0.003
    random = np.random.default_rng(0).normal(scale=scale, size=(100, len(columns)))
    save_stats(compute_stats(random, random, width=width), folder)
    write_tokenizer(folder, words)
    return folder


@pytest.fixture
def tiny_checkpoint(tmp_path):
    """A checkpoint folder for the Franka: DM0 at toy size, random weights, two cameras."""
    return write_checkpoint(tmp_path / "tiny")


@pytest.fixture
def tiny_pose_checkpoint(tmp_path):
    """The same for a layout of poses, as nearly all public checkpoints have, and a UR5 too."""
    return write_checkpoint(tmp_path / "poses", layout="pose", robots=["franka", "ur5"])


@pytest.fixture
def tiny_mobile_checkpoint(tmp_path):
    """The same for two arms and the base below them: 16 columns."""
    folder, robots = tmp_path / "mobile", ["mobile_aloha"]
    return write_checkpoint(folder, layout="mobile", robots=robots, width=16)


@pytest.fixture
def tiny_progress_checkpoint(tmp_path):
    """The same with a progress head, which always predicts 0.4."""
    return write_checkpoint(tmp_path / "tiny_progress", progress=True)


@pytest.fixture(scope="session")
def learnt_checkpoint(tmp_path_factory):
    """A checkpoint that reasons, see `reasoning_samples`; not to be changed."""
    from reasoning_samples import write_reasoning_checkpoint

    return write_reasoning_checkpoint(tmp_path_factory.mktemp("learnt"), write_checkpoint)


@pytest.fixture
def reasoning_checkpoint(learnt_checkpoint, tmp_path):
    """The same, to be changed."""
    return shutil.copytree(learnt_checkpoint, tmp_path / "reasoning")


def pytest_collection_modifyitems(items):
    for item in items:
        if GRAPH in item.path.parents:
            item.add_marker(pytest.mark.dds)
            # Real processes in real time: where the machine stalls, a graph says other things that
            # are true then. A second run tells; the summary counts the reruns.
            if not item.get_closest_marker("flaky"):
                item.add_marker(pytest.mark.flaky(reruns=2))


def pytest_terminal_summary(terminalreporter):
    """Skipped tests did not run, so they do not count."""
    reports = [report for several in terminalreporter.stats.values() for report in several]
    if not any("dds" in getattr(report, "keywords", ()) for report in reports):
        return
    ran = [
        report
        for outcome in ("passed", "failed", "xfailed", "xpassed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call" and "dds" in report.keywords
    ]
    terminalreporter.write_line(f"{len(ran)} tests ran over real DDS")
