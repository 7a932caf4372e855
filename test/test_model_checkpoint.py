# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders: what is saved comes back, and a bad folder is refused by name."""

import json
import shutil
import warnings

import pytest
import torch
from model_samples import GOLDEN, SMALL, chunk, observation, small_model
from safetensors.torch import load_file, save_file

from dm0_ros.errors import CheckpointError
from dm0_ros.model import DM0, DM0Config

PUBLIC = GOLDEN / "dm0_tiny_direct"


@pytest.fixture
def folder(tmp_path):
    """A writable copy of a checkpoint with a public layout."""
    target = tmp_path / "checkpoint"
    target.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(PUBLIC / name, target / name)
    return target


def edit_config(folder, change):
    values = json.loads((folder / "config.json").read_text())
    change(values)
    (folder / "config.json").write_text(json.dumps(values))


def edit_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def split_into_shards(folder):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:60]}
    shards["model-00002-of-00002.safetensors"] = names[60:]
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_saved_comes_back_bit_for_bit(tmp_path, progress, dtype):
    first = small_model(progress=progress)
    first.save_pretrained(tmp_path / "a")
    one = DM0.from_pretrained(tmp_path / "a", dtype)
    one.save_pretrained(tmp_path / "b")
    other = DM0.from_pretrained(tmp_path / "b", dtype)
    assert other.config == first.config
    saved = other.state_dict()
    assert saved.keys() == first.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert tensor.dtype == saved[name].dtype and torch.equal(tensor, saved[name]), name
    if dtype == torch.float32:
        assert all(torch.equal(saved[name], value) for name, value in first.state_dict().items())
    inputs, noise = observation(), chunk()
    same = other.sample_actions(*inputs, noise=noise), one.sample_actions(*inputs, noise=noise)
    assert torch.equal(*same)


def test_names_and_config_are_those_of_public_checkpoints(tmp_path):
    model = DM0.from_pretrained(PUBLIC)
    public = load_file(PUBLIC / "model.safetensors")
    heads = {"lm_head.weight", "model.action_expert.lm_head.weight"}
    assert set(model.state_dict()) == set(public) - heads
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    read = json.loads((PUBLIC / "config.json").read_text())
    for name in ("model_type", "architectures", "action_dim", "mm_vision_tower", "vision_config"):
        assert written[name] == read[name]


def test_saving_leaves_only_the_two_files_and_replaces_shards(folder):
    split_into_shards(folder)
    model = DM0.from_pretrained(folder)
    model.save_pretrained(folder)
    assert not list(folder.glob(".*")) and not (folder / "model.safetensors.index.json").exists()
    assert torch.equal(
        DM0.from_pretrained(folder).model.llm.norm.weight, model.model.llm.norm.weight
    )


def test_failed_save_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    small_model(seed=0).save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("dm0_ros.model.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        small_model(seed=1).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_shards_load_like_one_file(folder):
    whole = DM0.from_pretrained(folder).state_dict()
    split_into_shards(folder)
    parts = DM0.from_pretrained(folder).state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_dtype_follows_config_unless_given(folder):
    assert DM0.from_pretrained(folder).model.mm_projector.weight.dtype == torch.float32
    edit_config(folder, lambda values: values.pop("bf16"))
    assert DM0.from_pretrained(folder).model.mm_projector.weight.dtype == torch.bfloat16
    with pytest.raises(CheckpointError, match="float16"):
        DM0.from_pretrained(folder, torch.float16)


def test_progress_head_of_a_plain_checkpoint_is_the_callers_choice():
    progress = GOLDEN / "dm0_tiny_progress"
    assert not DM0.from_pretrained(progress, progress=False).config.progress
    with pytest.raises(CheckpointError, match="progress_in_proj"):
        DM0.from_pretrained(PUBLIC, progress=True)


def test_known_spare_tensors_pass_and_others_are_named(folder):
    def add(tensors):
        tensors["model.progress_in_proj.bias"] = torch.zeros(48)
        tensors["model.surprise.weight"] = torch.zeros(3)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DM0.from_pretrained(folder)
    edit_weights(folder, add)
    with pytest.warns(UserWarning, match=r"ignored: model\.surprise\.weight$"):
        DM0.from_pretrained(folder)


def test_missing_tensor_is_named(folder):
    edit_weights(folder, lambda tensors: tensors.pop("model.llm.layers.1.mlp.up_proj.weight"))
    with pytest.raises(CheckpointError, match=r"lacks 1 .*model\.llm\.layers\.1\.mlp\.up_proj"):
        DM0.from_pretrained(folder)


def test_misshapen_tensor_is_named(folder):
    def shrink(tensors):
        tensors["model.mm_projector.weight"] = torch.zeros(64, 127)

    edit_weights(folder, shrink)
    with pytest.raises(CheckpointError, match=r"mm_projector\.weight has shape \(64, 127\)"):
        DM0.from_pretrained(folder)


@pytest.mark.parametrize("keep", [0, 5, 1000, -1, -100_000])
def test_truncated_file_is_named(folder, keep):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated"):
        DM0.from_pretrained(folder)


def test_weights_of_another_architecture_are_refused(folder):
    save_file({"encoder.weight": torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="lacks"):
        DM0.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(model_type="pi0"), "model_type is 'pi0'"),
        (lambda v: v.pop("model_type"), "model_type is None"),
        (lambda v: v.pop("llm_config"), "llm_config must be an object"),
        (lambda v: v["action_config"].pop("head_dim"), "action_config lacks head_dim"),
        (lambda v: v["llm_config"].update(hidden_size="64"), "llm_config.hidden_size must be"),
        (lambda v: v["llm_config"].update(hidden_size=64.5), "whole number"),
        (lambda v: v["action_config"].update(num_hidden_layers=2), "num_hidden_layers is 3"),
        (lambda v: v.pop("vision_config"), "mm_vision_tower 'pe_tiny' is unknown"),
        (lambda v: v.update(chunk_size=-1), "chunk_size must be"),
        (lambda v: v["vision_config"].update(image_size=113), "no multiple of patch"),
    ],
)
def test_config_that_cannot_be_used_is_refused(folder, change, words):
    edit_config(folder, change)
    with pytest.raises(CheckpointError, match=words) as caught:
        DM0.from_pretrained(folder)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": }', "\x00"])
def test_broken_config_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        DM0.from_pretrained(folder)


def test_trailing_comma_as_in_the_base_checkpoint_is_forgiven(folder):
    text = (folder / "config.json").read_text().rstrip()
    (folder / "config.json").write_text(text[:-1].rstrip() + ",\n}\n")
    assert DM0.from_pretrained(folder).config == DM0.from_pretrained(PUBLIC).config


def test_unread_config_fields_survive_saving(folder, tmp_path):
    edit_config(folder, lambda values: values.update(ar_loss_weight=1.0))
    DM0.from_pretrained(folder).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["ar_loss_weight"] == 1.0


def test_missing_folder_config_weights_and_shard_are_named(folder):
    with pytest.raises(CheckpointError, match="is no folder"):
        DM0.from_pretrained(folder / "nowhere")
    split_into_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors is missing"):
        DM0.from_pretrained(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"index\.json is broken"):
        DM0.from_pretrained(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match="neither"):
        DM0.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        DM0.from_pretrained(folder)


def test_pickled_weights_are_never_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="can run code"):
        DM0.from_pretrained(folder)


def test_index_may_not_point_outside(folder):
    split_into_shards(folder)
    index = {"weight_map": {"model.llm.norm.weight": "../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="outside"):
        DM0.from_pretrained(folder)


def test_config_survives_its_own_json():
    assert DM0Config.from_dict(SMALL.to_dict()) == SMALL
