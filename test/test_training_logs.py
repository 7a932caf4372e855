# SPDX-License-Identifier: Apache-2.0
"""Losses as a table, as curves, and for TensorBoard."""

import csv
import importlib.util
import logging

import pytest
from PIL import Image

from dm0_ros.training.logs import LossLog, write_losses

LOSSES = {"text": [3.0, 2.0, 1.0], "flow": [0.5, 0.25, 0.125]}


def test_losses_are_written_step_by_step(tmp_path):
    write_losses(LOSSES, tmp_path)
    with open(tmp_path / "loss.csv", encoding="utf-8") as file:
        table = list(csv.reader(file))
    assert table == [
        ["step", "text", "flow"], ["1", "3.0", "0.5"], ["2", "2.0", "0.25"], ["3", "1.0", "0.125"]
    ]  # fmt: skip


def test_every_loss_has_a_curve(tmp_path):
    heights = []
    for losses in (LOSSES, {"flow": LOSSES["flow"]}):
        write_losses(losses, tmp_path)
        heights.append(Image.open(tmp_path / "loss.png").height)
    assert heights[0] > 1.5 * heights[1]


def test_tensorboard_reads_the_losses_of_a_resumed_run(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="extra train"
    )
    for first, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        log = LossLog(tmp_path, first)
        for step in steps:
            log.note(step, {"text": 10.0 * first + step, "flow": 0.5})
        log.close()
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss/text", "loss/flow"}
    # step 3 of the first run was after its last state: the second one's counts
    found = [(event.step, event.value) for event in events.Scalars("loss/text")]
    assert found == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0)]


def test_without_tensorboard_it_is_said_once_and_nothing_is_written(tmp_path, monkeypatch, caplog):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "dm0_ros.training.logs.importlib.util.find_spec",
        lambda name: None if name == "tensorboard" else find(name),
    )
    with caplog.at_level(logging.WARNING):
        log = LossLog(tmp_path / "events", 0)
        log.note(1, {"text": 1.0})
        log.close()
    (record,) = caplog.records
    assert "not installed" in record.message and "dm0_ros[train]" in record.message
    assert not (tmp_path / "events").exists()
