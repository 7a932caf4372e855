# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by name, from a hub on the loopback: no network, and nothing in HOME."""

import errno
import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from checkpoint_samples import write_public, write_runnable
from hub_server import Hub, serve
from huggingface_hub import constants
from safetensors.torch import load_file

from dm0_ros.errors import CheckpointError
from dm0_ros.model import DM0, hub
from dm0_ros.policy.catalogue import load_catalogue
from dm0_ros.policy.protocol import Observation
from dm0_ros.policy.registry import Checkpoint, find_checkpoint, load_policy
from dm0_ros.robots import load_robot
from dm0_ros.robots.spec import Space

NAME = "someone/tiny"
SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A hub with one repository, and a client that knows no other."""
    site = Hub()
    folder = write_public(tmp_path / "site", shards=2)
    for name in ("pytorch_model.bin", "modeling_dm0.py", "sub/model.safetensors", "README.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("never wanted")
    (folder / "norm_stats.json").write_text("{}")
    site.add(NAME, folder)
    server = serve(site)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    point_client_at(monkeypatch, tmp_path / "hf", f"http://127.0.0.1:{server.server_address[1]}")
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def point_client_at(monkeypatch, home, address):
    """What HF_HOME and HF_ENDPOINT do in a new process (the client reads them when imported)."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))


def test_a_repository_loads_like_its_folder_and_then_without_asking(site):
    _, folder = site.repositories[NAME]["main"]
    model = DM0.from_pretrained(NAME)
    stored = load_file(folder / SHARDS[0]) | load_file(folder / SHARDS[1])
    assert all(torch.equal(v.float(), stored[n].float()) for n, v in model.state_dict().items())
    assert site.requests
    site.requests.clear()
    assert DM0.from_pretrained(NAME).config == model.config
    assert site.requests == []


def test_only_what_is_safe_is_fetched(site):
    folder = hub.locate(NAME)
    wanted = {"config.json", "norm_stats.json", "model.safetensors.index.json", *SHARDS}
    assert set(site.fetched()) == wanted == {path.name for path in folder.iterdir()}


def test_a_revision_is_pinned(site, tmp_path):
    old = write_public(tmp_path / "old", dtype=torch.float32)
    site.add(NAME, old, revision="v1", commit="b" * 40)
    for revision in ("v1", "b" * 40):
        config = json.loads((hub.locate(f"{NAME}@{revision}") / "config.json").read_text())
        assert config["bf16"] is False
    assert json.loads((hub.locate(NAME) / "config.json").read_text())["bf16"] is True
    with pytest.raises(CheckpointError, match="someone/tiny has no revision 'v2'"):
        hub.locate(f"{NAME}@v2")


def test_fetching_again_follows_the_branch_and_finding_does_not(site, tmp_path):
    first = hub.locate(NAME)
    site.add(NAME, write_public(tmp_path / "new", dtype=torch.float32), commit="c" * 40)
    assert hub.locate(NAME) == first
    second = hub.fetch(hub.parse_name(NAME))
    assert second != first and hub.locate(NAME) == second


def test_a_broken_connection_goes_on_where_it_broke(site, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    site.cut[SHARDS[0]] = 50_000
    folder = hub.locate(NAME)
    original = site.repositories[NAME]["main"][1]
    assert (folder / SHARDS[0]).read_bytes() == (original / SHARDS[0]).read_bytes()
    ranges = [headers["range"] for _, _, headers in site.requests if "range" in headers]
    assert len(ranges) == 1 and 1000 <= int(ranges[0][6:-1]) <= 50_000


def test_after_a_failure_only_the_rest_is_fetched(site):
    site.failing.add(SHARDS[1])
    with pytest.raises(CheckpointError, match=r"cannot be fetched: .*500.* try again"):
        hub.locate(NAME)
    assert hub.find_cached(hub.parse_name(NAME)) is None
    site.failing.clear()
    site.requests.clear()
    DM0.from_pretrained(NAME)
    assert site.fetched() == [SHARDS[1]]


@pytest.mark.parametrize("notes", [True, False])
@pytest.mark.parametrize("name", [SHARDS[1], "config.json", "model.safetensors.index.json"])
def test_a_snapshot_with_a_hole_is_filled(site, tmp_path, name, notes):
    folder = hub.locate(NAME)
    blob = (folder / name).resolve()
    (folder / name).unlink()
    blob.unlink()
    if not notes:  # older clients keep none
        shutil.rmtree(folder.parent.parent / "trees")
    site.requests.clear()
    DM0.from_pretrained(NAME)
    assert site.fetched() == [name]


def test_without_a_network_what_is_here_is_given(site, monkeypatch, tmp_path):
    folder = hub.locate(NAME)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub.fetch(hub.parse_name(NAME)) == folder
    with pytest.raises(CheckpointError, match=r"hub cannot be reached .*: connect to the network"):
        hub.locate("someone/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="unset HF_HUB_OFFLINE"):
        hub.locate("someone/other")


def test_unknown_repository_is_named(site):
    with pytest.raises(CheckpointError, match=r"someone/other is no folder here and .* spelling"):
        hub.locate("someone/other")


def test_gated_repository_says_what_to_do(site, monkeypatch):
    site.gated.add(NAME)
    with pytest.raises(CheckpointError, match=r"accepted its terms: .*/someone/tiny, .* not set"):
        hub.locate(NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    hub.locate(NAME)
    assert site.requests[-1][2]["authorization"] == "Bearer hf_mine"


def test_forbidden_repository_says_what_to_do(site, monkeypatch):
    site.forbidden.add(NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    with pytest.raises(
        CheckpointError, match=r"does not let us read .* \(403\): .*HF_TOKEN is se"
    ):
        hub.locate(NAME)


def test_a_token_that_lies_in_a_file_is_never_sent(site, tmp_path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_forgotten")
    assert huggingface_hub.get_token() == "hf_forgotten"
    hub.locate(NAME)
    assert not any("authorization" in headers for _, _, headers in site.requests)


def test_a_full_disk_is_named(site, monkeypatch):
    def fail(*arguments, **options):
        if options.get("local_files_only"):
            raise huggingface_hub.errors.LocalEntryNotFoundError("none")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match=r"the disk is full; .* HF_HOME"):
        hub.locate(NAME)


def test_damage_on_the_way_is_named(site, tmp_path):
    folder = hub.locate(NAME)
    shard = (folder / SHARDS[1]).resolve()
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{SHARDS[1]} is truncated"):
        DM0.from_pretrained(NAME)


def test_short_names_are_those_of_the_table(site, tmp_path):
    plain = {n: e.repository for n, e in load_catalogue().items() if ":" not in n}
    assert hub.list_short_names() == plain
    site.add("Dexmal/DM0-libero", write_public(tmp_path / "libero"))
    assert hub.locate("libero") == hub.locate("Dexmal/DM0-libero")
    assert hub.parse_name("libero@v1") == hub.Repository("Dexmal/DM0-libero", "v1")


@pytest.mark.parametrize("name", ["libera", "a/b/c", "someone/", "-a/b", "libero@", "", "a b/c"])
def test_what_is_no_name_at_all_is_refused(site, name):
    with pytest.raises(CheckpointError, match=r"is no folder, no repository .* and no short name"):
        hub.parse_name(name)
    assert site.requests == []


def test_a_policy_never_downloads_but_says_what_to_type(site, tmp_path):
    task = "table30_generalist_franka:press_three_buttons"
    with pytest.raises(CheckpointError, match="dm0 checkpoint download Dexmal/DM0-table30_gen"):
        find_checkpoint(task)
    assert site.requests == []
    general, pinned = "Dexmal/DM0-table30_generalist_franka", "d" * 40
    site.add(general, write_public(tmp_path / "a"))
    site.add(general, write_public(tmp_path / "b"), revision="v1", commit=pinned)
    folder, old = hub.locate(general), hub.locate(f"{general}@v1")
    assert find_checkpoint(general).load_settings().executed_rows == 15
    found = find_checkpoint(task)
    assert (found.folder, found.load_settings().executed_rows) == (folder, 35)
    assert find_checkpoint(f"{task}@v1").folder == old
    folder = hub.locate(NAME)
    assert find_checkpoint(NAME) == Checkpoint(folder, None)


def test_a_public_checkpoint_runs_with_the_settings_of_the_table(site, tmp_path):
    """Its folder has no policy.yaml; the gripper's two values are those of its robot's data."""
    name, franka = "table30_press_three_buttons", load_robot("franka")
    site.add(f"Dexmal/DM0-{name}", write_runnable(tmp_path / name, shards=2, progress=True))
    hub.locate(name)
    policy = load_policy(name, franka)
    spec = policy.spec
    assert (spec.name, spec.space, spec.step, spec.horizon) == (name, Space.EEF_POSE, 0.2, 50)
    assert spec.camera_slots == ("right_hand", "high", "left_hand")
    picture = np.full((60, 60, 3), 90, np.uint8)
    plan = policy.infer(
        Observation(dict.fromkeys(spec.camera_slots, picture), np.zeros(7), "press", stamp=1.0)
    )
    assert set(plan.values[:, 6]) <= {0.004, 0.084}
    assert plan.progress == 0.0
    with pytest.raises(CheckpointError, match="was trained for franka, panda, not for someone"):
        load_policy(name, replace(franka, name="someone"))


def test_the_base_is_for_no_robot(site, tmp_path):
    site.add("Dexmal/DM0-base", write_public(tmp_path / "base", head="tied"))
    hub.locate("base")
    with pytest.raises(CheckpointError, match="base was trained for no robot: train it further"):
        find_checkpoint("base").load_settings()


def test_a_folder_wins_over_a_repository_of_that_name(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_public(tmp_path / NAME)
    assert hub.locate(NAME) == Path(NAME)
    assert site.requests == []
