# SPDX-License-Identifier: Apache-2.0
"""Tasks, published scores, and `dm0 eval table30`."""

import json
from pathlib import Path
from statistics import mean

import pytest
from typer.testing import CliRunner

from dm0_ros.challenge.errors import ChallengeError
from dm0_ros.challenge.faults import Call, FaultKind
from dm0_ros.challenge.journal import Outcome
from dm0_ros.challenge.results import load_own, load_published
from dm0_ros.challenge.table import find_task, load_table30, load_tasks
from dm0_ros.cli import app
from dm0_ros.policy.catalogue import find_entry

WIDE = {"COLUMNS": "200"}


def dm0(*arguments, env=None):
    return CliRunner().invoke(app, ["eval", "table30", *arguments], env={**WIDE, **(env or {})})


def test_every_task_has_robot_checkpoints_and_scores():
    tasks = load_tasks()
    assert len(tasks) == 30 and set(tasks) == set(load_published().table30)
    assert {task.robot for task in tasks.values()} == set(load_table30().stations)
    for task in tasks.values():
        for name in (task.specialist, task.generalist):
            assert find_entry(name).robot == task.robot
            assert find_entry(name).prompts == (task.prompt,)


@pytest.mark.parametrize(
    ("column", "rate", "score"),
    [
        ("specialist", 62, 72.25), ("generalist", 37.33, 49.08),
        ("pi0", 28.33, 46.41), ("pi05", 42.67, 61.84),
    ],
)  # fmt: skip
def test_averages_are_those_of_the_rows(column, rate, score):
    rows = [getattr(scores, column) for scores in load_published().table30.values()]
    found = [mean(values) for values in zip(*rows, strict=True)]
    assert found == pytest.approx([rate, score], abs=0.006)
    assert list(getattr(load_published().average, column)) == pytest.approx(found, abs=0.5)


def test_other_published_scores_are_there():
    published = load_published()
    assert published.libero["average"] == pytest.approx(
        mean(published.libero[suite] for suite in ("spatial", "object", "goal", "long")), abs=0.06
    )
    assert published.objectnav["DM0"] == {"HM3D": (73.5, 25.7), "MP3D": (45.3, 12.9)}
    assert published.overall["DM0"].specialist == published.average.specialist[0]
    assert set(published.swapped) <= set(load_tasks())


def test_the_page_names_every_outcome_and_fault():
    page = (Path(__file__).parent.parent / "docs" / "challenge.md").read_text("utf-8")
    for member in (*Outcome, *FaultKind, *Call):
        assert f"`{member.value}`" in page


def test_the_likely_task_is_named():
    with pytest.raises(ChallengeError, match="no task 'stack_bowl'; did you mean stack_bowls"):
        find_task("stack_bowl")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("table30: {stack_bowls: [101, 5]}", "table30.stack_bowls: is .*from 0 to 100"),
        ("table30: {stack: [10, 5]}", "no task 'stack'"),
        ("table30: {stack_bowls: [10]}", "expected 2 entries"),
        ("scores: {}", "unknown key scores"),
    ],
)
def test_scores_that_are_none_are_refused(tmp_path, text, reason):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ChallengeError, match=reason):
        load_own(path)
    with pytest.raises(ChallengeError, match="there is no file"):
        load_own(tmp_path / "absent.yaml")


def test_the_table_has_ours_beside_theirs(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("table30: {stack_bowls: [90, 95.5]}")
    result = dm0("--scores", str(path))
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.output.splitlines() if "stack_bowls" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[:4] == ["stack_bowls", "aloha", "90 / 95.50", "100 / 100.00"]
    assert "1 of 30" in result.output and "move_objects_into_box" in result.output


def test_one_task_is_told_with_its_prompt():
    result = dm0("--task", "scan_QR_code")
    assert "scan the QR code on the medicine box using the scanner" in result.output
    assert "table30_generalist_aloha:scan_QR_code" in result.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--task", "dance"], "no task 'dance'"),
        (["--collection", "5"], "needs --task"),
        (["--collection", "5", "--task", "stack_bowls"], "ROBOCHALLENGE_USER is not set"),
        (["--fault", "hang@state"], "give --rehearse too"),
    ],
)
def test_what_cannot_be_run_is_named(arguments, reason):
    result = dm0(*arguments, env={"ROBOCHALLENGE_USER": ""})
    assert result.exit_code != 0 and reason in str(result.exception)


def test_a_rehearsal_runs_the_shipped_network(tmp_path):
    """In real time: one chunk of the real network, on the loopback."""
    path = tmp_path / "records.json"
    result = dm0(
        "--rehearse", "--task", "stack_bowls", "--chunks", "1", "--json", str(path),
        "--fault", "status@state",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (record,) = json.loads(path.read_text())["stack_bowls"]
    assert (record["outcome"], record["chunks"]) == ("finished", 1)
    assert "100 / 100.00" in result.output
