# SPDX-License-Identifier: Apache-2.0
"""`dm0 checkpoint`: list, download, inspect, settings."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading

import numpy as np
import pytest
import torch
from checkpoint_samples import (
    INDEX,
    POINTER,
    edit_json,
    edit_weights,
    write_public,
    write_runnable,
)
from hub_server import Hub, serve
from huggingface_hub import constants
from tokenizer_samples import write_tokenizer
from typer.testing import CliRunner

from dm0_ros import cli
from dm0_ros.errors import CheckpointError
from dm0_ros.policy.catalogue import load_catalogue
from dm0_ros.policy.normalisation import compute_stats, save_stats
from dm0_ros.policy.settings import load_settings

NAME = "table30_press_three_buttons"
SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


@pytest.fixture
def folder(tmp_path):
    """A copy of a public checkpoint that somebody keeps in a folder of their own."""
    target = write_runnable(tmp_path / "mine", shards=2, progress=True)
    (target / "policy.yaml").write_text(run("settings", NAME).stdout)
    return target


def run(*arguments):
    return CliRunner().invoke(cli.app, ["checkpoint", *map(str, arguments)])


def inspect(folder):
    result = run("inspect", folder, "--json")
    return result.exit_code, json.loads(result.stdout)


def test_a_whole_checkpoint_is_told_in_tables(folder):
    result = run("inspect", folder)
    assert result.exit_code == 0, result.output
    words = ("progress heads", "BF16", SHARDS[1], "action fr3_finger_joint1", "state roll",
             "right_hand, high, left_hand", "0.004 below 0.04, else 0.084", "quantile",
             "no faults found", "not used: model.action_expert.lm_head.weight")  # fmt: skip
    for word in words:
        assert word in result.output


def test_inspection_counts_what_is_there(folder):
    code, seen = inspect(folder)
    assert code == 0 and seen["problems"] == seen["remarks"] == []
    parts = {part["name"]: part for part in seen["parts"]}
    model_size = sum(p["parameters"] for name, p in parts.items() if name != "not used")
    assert parts["progress heads"]["parameters"] == 2 * 32 + 32 + 1
    assert parts["not used"]["tensors"] == 1
    assert all(part["size"] == 2 * part["parameters"] for part in parts.values())
    files = {name: (folder / name).stat().st_size for name in SHARDS}
    assert seen["files"] == files
    assert sum(files.values()) > 2 * (model_size + parts["not used"]["parameters"])
    rows = [column for column in seen["columns"] if column["vector"] == "action"]
    expected = ["x", "y", "z", "roll", "pitch", "yaw", "fr3_finger_joint1"]
    assert [row["name"] for row in rows] == expected == seen["action_columns"]
    assert [round(row["mean"]) for row in rows] == list(range(7))
    assert seen["network"]["progress"] is True and seen["settings"]["step"] == 0.2


def test_every_visible_damage_is_named(folder):
    def damage(tensors):
        name = sorted(name for name in tensors if name.endswith("norm.weight"))[0]
        del tensors[name]
        tensors["model.action_in_proj.bias"] = torch.zeros(3)
        tensors["model.unknown"] = torch.zeros(3)

    edit_weights(folder / SHARDS[0], damage)
    (folder / SHARDS[1]).write_text(POINTER)
    (folder / "tokenizer.json").write_text("{")
    edit_json(folder / "norm_stats.json", lambda stats: stats["norm_stats"]["action"].pop("std"))
    code, seen = inspect(folder)
    assert code == 1
    told = "\n".join(seen["problems"])
    for words in (
        f"{SHARDS[1]} is a pointer of git-lfs",
        f"{INDEX} names tensors in {SHARDS[0]} that are not there",
        f"{SHARDS[0]} holds tensors that {INDEX} does not name: model.unknown",
        "lacks 1 of",
        "model.action_in_proj.bias has shape (3,)",
        "norm_stats.json: action: lacks std",
        "tokenizer.json is not valid JSON",
    ):
        assert words in told
    assert len(seen["problems"]) == 7
    assert run("inspect", folder).output.count("fault: ") == 7


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "config.json").write_text("{"), "config.json is not valid JSON"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / SHARDS[0]).unlink(), f"{SHARDS[0]} is missing"),
        (lambda f: (f / INDEX).unlink(), "neither"),
        (lambda f: (f / "norm_stats.json").unlink(), "norm_stats.json is missing"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda f: (f / "policy.yaml").write_text("name: x"), "policy.yaml:1: missing key robots"),
        (lambda f: os.truncate(f / SHARDS[1], 9000), f"{SHARDS[1]} is truncated"),
    ],
)
def test_each_damage_ends_with_one(folder, damage, words):
    damage(folder)
    code, seen = inspect(folder)
    assert code == 1
    assert sum(words in problem for problem in seen["problems"]) == 1
    assert len(seen["problems"]) == 1


def test_statistics_of_fewer_columns_are_a_fault(folder):
    rows = np.random.default_rng(0).normal(size=(50, 5))
    save_stats(compute_stats(rows, rows, width=8), folder)
    assert "no action statistics for yaw, fr3_finger_joint1" in inspect(folder)[1]["problems"][0]


def test_what_is_there_to_be_trained_further_is_no_damage(tmp_path):
    target = write_public(tmp_path, head="tied")
    write_tokenizer(target)
    code, seen = inspect(target)
    assert code == 0
    assert any("norm_stats.json is missing" in remark for remark in seen["remarks"])
    assert any("dm0 checkpoint settings NAME" in remark for remark in seen["remarks"])


def test_settings_are_those_of_the_table(tmp_path):
    name = "table30_generalist_arx5:open_the_drawer"
    (tmp_path / "policy.yaml").write_text(run("settings", name).stdout)
    assert load_settings(tmp_path) == load_catalogue()[name].settings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("settings", "base"), "base was trained for no robot"),
        (("settings", "stack_bowl"), "did you mean table30_stack_bowls"),
        (("inspect", "table30_stack_bowls"), "dm0 checkpoint download Dexmal/DM0-table30_stack"),
        (("inspect", "/nowhere"), "there is no folder '/nowhere'"),
    ],
)
def test_what_is_not_there_is_said_with_the_remedy(tmp_path, monkeypatch, arguments, words):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    result = run(*arguments)
    assert isinstance(result.exception, CheckpointError)
    assert words in str(result.exception) and result.output == ""


def environment(home, address):
    """Of a user who has nothing yet; HF_ENDPOINT is where the hub is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    home.mkdir(exist_ok=True)
    kept |= {"HOME": str(home), "HF_HOME": str(home / "hf"), "OMP_NUM_THREADS": "1"}
    return kept | ({"HF_ENDPOINT": address} if address else {"HF_HUB_OFFLINE": "1"})


def dm0(variables, *arguments, stderr=subprocess.PIPE):
    command = [sys.executable, "-m", "dm0_ros.cli", "checkpoint", *arguments]
    return subprocess.run(
        command, env=variables, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=120
    )


@pytest.fixture
def address(tmp_path):
    """Where a hub with one Table30 checkpoint is."""
    hub = Hub()
    hub.add(f"Dexmal/DM0-{NAME}", write_runnable(tmp_path / "site", shards=2, progress=True))
    server = serve(hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_download_is_inspected_listed_and_then_there_without_a_network(tmp_path, address):
    home = tmp_path / "home"
    result = dm0(environment(home, address), "download", NAME)
    assert result.returncode == 0, result.stderr
    assert "no faults found" in result.stdout and "predicts" not in result.stdout
    assert "Fetching" not in result.stderr  # no bar where there is no terminal
    offline = environment(home, None)
    assert dm0(offline, "inspect", NAME).stdout == result.stdout
    listed = json.loads(dm0(offline, "list", "--json").stdout)
    assert [entry["name"] for entry in listed if entry["folder"]] == [NAME]
    assert len(listed) == len(load_catalogue())
    lines = dm0(offline, "list").stdout.splitlines()
    assert [line.split()[0] for line in lines if line.rstrip().endswith("yes")] == [NAME]


def test_a_download_draws_its_progress_on_a_terminal(tmp_path, address):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    drawn = []
    reader = threading.Thread(target=read_terminal, args=(ours, drawn), daemon=True)
    reader.start()
    result = dm0(environment(tmp_path / "home", address), "download", NAME, stderr=theirs)
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert result.returncode == 0
    assert "100%" in b"".join(drawn).decode()


def read_terminal(descriptor, drawn):
    """Until nobody holds the other end, which Linux reports as an error."""
    with contextlib.suppress(OSError):
        while part := os.read(descriptor, 4096):
            drawn.append(part)


def test_a_download_that_cannot_be_is_one_line(tmp_path, address):
    result = dm0(environment(tmp_path / "home", address), "download", "libero")
    assert (result.returncode, result.stdout) == (1, "")
    assert "Dexmal/DM0-libero is no folder here and does not exist on the hub" in result.stderr
    assert result.stderr.count("\n") == 1
