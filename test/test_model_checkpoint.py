# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders: what is saved comes back, and a bad folder is refused by name."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace

import pytest
import torch
from checkpoint_samples import (
    DEAD_HEAD,
    INDEX,
    POINTER,
    edit_header,
    edit_json,
    edit_weights,
    write_public,
    write_weights,
)
from model_samples import GOLDEN, SMALL, chunk, observation, small_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dm0_ros.errors import CheckpointError
from dm0_ros.model import DM0, DM0Config
from dm0_ros.model.headers import shorten

PUBLIC = GOLDEN / "dm0_tiny_direct"
SINGLE = "model.safetensors"
FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
UP = "model.llm.layers.1.mlp.up_proj.weight"
# The golden networks have a random head of their own.
OWN_HEAD = "ignore:.*lm_head.weight is not equal:UserWarning"


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with a public layout, one file."""
    return write_public(tmp_path / "checkpoint", dtype=torch.float32)


@pytest.fixture
def sharded(tmp_path):
    return write_public(tmp_path / "sharded", shards=2, dtype=torch.float32)


def edit_config(folder, change):
    edit_json(folder / "config.json", change)


def same_weights(one, other):
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    return all(torch.equal(value, second[name]) for name, value in first.items())


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


@pytest.mark.filterwarnings(OWN_HEAD)
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


def test_saving_leaves_only_the_two_files_and_replaces_shards(sharded):
    model = DM0.from_pretrained(sharded)
    model.save_pretrained(sharded)
    assert not list(sharded.glob(".*")) and not (sharded / INDEX).exists()
    assert same_weights(DM0.from_pretrained(sharded), model)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shards_load_like_one_file(folder, tmp_path, dtype):
    tensors = load_file(folder / SINGLE)
    whole = DM0.from_pretrained(folder, dtype)
    (folder / SINGLE).unlink()
    write_weights(folder, tensors, shards=3)
    assert same_weights(whole, DM0.from_pretrained(folder, dtype))


def test_dtype_follows_config_unless_given(folder):
    assert DM0.from_pretrained(folder).model.mm_projector.weight.dtype == torch.float32
    edit_config(folder, lambda values: values.pop("bf16"))
    model = DM0.from_pretrained(folder)
    assert model.model.mm_projector.weight.dtype == torch.bfloat16
    assert model.model.action_in_proj.weight.dtype == torch.float32
    with pytest.raises(CheckpointError, match="float16"):
        DM0.from_pretrained(folder, torch.float16)


@pytest.mark.parametrize("stored", [torch.float16, torch.float64, torch.bfloat16])
def test_other_floats_on_disk_are_converted(tmp_path, stored):
    write_public(tmp_path, dtype=stored)
    there = load_file(tmp_path / SINGLE)
    for name, value in DM0.from_pretrained(tmp_path, torch.float32).state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, there[name].float())


@pytest.mark.parametrize("stored", [torch.int8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused_by_name(folder, stored):
    def convert(tensors):
        tensors[UP] = tensors[UP].to(stored)

    edit_weights(folder / SINGLE, convert)
    with pytest.raises(
        CheckpointError, match=r"layers\.1\.mlp\.up_proj\.weight stored as (I8|F8)"
    ):
        DM0.from_pretrained(folder)


def test_progress_head_of_a_plain_checkpoint_is_the_callers_choice(tmp_path):
    generalist = write_public(tmp_path / "generalist", spare_progress=True)
    assert not DM0.from_pretrained(generalist).config.progress
    assert DM0.from_pretrained(generalist, progress=True).config.progress
    progress = write_public(tmp_path / "progress", progress=True)
    assert DM0.from_pretrained(progress).config.progress
    assert not DM0.from_pretrained(progress, progress=False).config.progress
    plain = write_public(tmp_path / "plain")
    with pytest.raises(CheckpointError, match=r"lacks 4 .*progress_in_proj.bias, .*progress_out"):
        DM0.from_pretrained(plain, progress=True)


def test_dead_head_is_never_read_and_a_tied_one_not_kept(tmp_path, monkeypatch):
    write_public(tmp_path, head="tied", spare_progress=True)
    read = []

    class Spy:
        def __init__(self, *arguments, **options):
            self._content = safe_open(*arguments, **options)

        def __enter__(self):
            self._content.__enter__()
            return self

        def __exit__(self, *exception):
            return self._content.__exit__(*exception)

        def get_tensor(self, name):
            read.append(name)
            return self._content.get_tensor(name)

        def get_slice(self, name):
            read.append(name)
            return self._content.get_slice(name)

    monkeypatch.setattr("dm0_ros.model.checkpoint.safe_open", Spy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = DM0.from_pretrained(tmp_path)
    assert DEAD_HEAD not in read and "lm_head.weight" in read
    assert not any("progress" in name for name in read)
    assert set(read) - {"lm_head.weight"} == set(model.state_dict())


def test_a_head_of_its_own_is_named(tmp_path):
    write_public(tmp_path, head="own")
    with pytest.warns(UserWarning, match=r"lm_head\.weight is not equal to .* text is not"):
        DM0.from_pretrained(tmp_path)


def test_known_spare_tensors_pass_and_others_are_named(folder):
    def add(tensors):
        for layer in range(3):
            tensors[f"model.surprise.{layer}.weight"] = torch.zeros(3)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DM0.from_pretrained(folder)
    edit_weights(folder / SINGLE, add)
    with pytest.warns(UserWarning, match=r"ignored: model\.surprise\.\{0-2\}\.weight$"):
        DM0.from_pretrained(folder)


def test_all_faults_are_named_at_once(folder):
    def damage(tensors):
        del tensors[UP], tensors["model.llm.norm.weight"]
        tensors["model.mm_projector.weight"] = torch.zeros(64, 127)
        tensors["model.action_in_proj.bias"] = torch.zeros(3)

    edit_weights(folder / SINGLE, damage)
    with pytest.raises(CheckpointError) as caught:
        DM0.from_pretrained(folder)
    told = str(caught.value)
    assert "has 3 faults" in told
    assert f"lacks 2 of the {len(small_model().state_dict())} tensors" in told
    for part in (UP, "model.llm.norm.weight", "mm_projector.weight has shape (64, 127)"):
        assert part in told
    assert "model.action_in_proj.bias has shape (3,), config.json asks for (32,)" in told


@pytest.mark.parametrize("keep", [0, 5, 1000, -1, -100_000])
def test_truncated_file_is_named(folder, keep):
    file = folder / SINGLE
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated"):
        DM0.from_pretrained(folder)


def test_what_a_truncated_file_lost_is_named(folder):
    file, header = folder / SINGLE, {}
    edit_header(file, header.update)
    ends = {name: entry["data_offsets"][1] for name, entry in header.items() if "." in name}
    last = max(ends, key=ends.get)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"1 of .* bytes are missing, .* {last}; copy"):
        DM0.from_pretrained(folder)


def lie_about_shape(header):
    header["model.llm.norm.weight"]["shape"] = [49]


def lie_about_place(header):
    first, second = header["model.llm.norm.weight"], header["model.mm_projector.weight"]
    first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]


def overlap(header):
    entry = header["model.llm.norm.weight"]
    entry["data_offsets"] = [offset - 192 for offset in entry["data_offsets"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lie_about_shape, r"norm\.weight F32 \(49,\) needs 196 bytes and has 192"),
        (lie_about_place, r"llm\.norm\.weight F32 \(48,\) needs 192 bytes"),
        (overlap, "norm.weight overlaps its predecessor"),
        (lambda header: header.pop("model.llm.norm.weight") and None, "leaves a hole after"),
        (lambda header: header["model.llm.norm.weight"].pop("dtype") and None, "cannot be read"),
        (lambda header: b"[1, 2]", "cannot be read"),
        (lambda header: b"\xff\xfe", "cannot be read"),
        (lambda header: b'{"a": {}, "a": {}}', "cannot be read"),
        (lambda header: header["model.llm.norm.weight"].update(shape=[-48]), "no whole number"),
    ],
)
def test_header_that_lies_is_refused(folder, change, words):
    edit_header(folder / SINGLE, change)
    with pytest.raises(CheckpointError, match=words):
        DM0.from_pretrained(folder)


def test_a_tensor_named_twice_in_a_header_is_refused(folder):
    def repeat(header):
        name = "model.llm.norm.weight"
        again = json.dumps({name: header[name]})[1:]
        return (json.dumps(header)[:-1] + ", " + again).encode()

    edit_header(folder / SINGLE, repeat)
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors names model\.llm\.norm.* twice"
    ):
        DM0.from_pretrained(folder)


def test_bytes_after_the_last_tensor_are_named(folder):
    with (folder / SINGLE).open("ab") as file:
        file.write(b"1234567")
    with pytest.raises(CheckpointError, match="is 7 bytes longer than its header says"):
        DM0.from_pretrained(folder)


def test_file_of_another_kind_is_named(folder):
    (folder / SINGLE).write_bytes(b"PK\x03\x04" + b"\xff" * 100)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is no safetensors file"):
        DM0.from_pretrained(folder)


@pytest.mark.parametrize("name", [SECOND, INDEX, "config.json", "norm_stats.json"])
def test_pointers_of_git_lfs_are_named_with_the_remedy(sharded, name):
    (sharded / name).write_text(POINTER)
    with pytest.raises(CheckpointError, match=f"{name} is a pointer of git-lfs.* 'git lfs pull'"):
        DM0.from_pretrained(sharded)


def test_weights_of_another_architecture_are_refused(folder):
    save_file({"encoder.weight": torch.zeros(3)}, folder / SINGLE)
    with pytest.raises(CheckpointError, match=r"lacks .*llm\.layers\.\{0-1\}\.mlp\.up_proj"):
        DM0.from_pretrained(folder)


def test_index_and_shards_that_disagree_are_refused(sharded):
    def rename(index):
        places = index["weight_map"]
        places["model.llm.invented.weight"] = FIRST
        del places["model.llm.norm.weight"]

    edit_json(sharded / INDEX, rename)
    with pytest.raises(CheckpointError) as caught:
        DM0.from_pretrained(sharded)
    told = str(caught.value)
    assert f"names tensors in {FIRST} that are not there: model.llm.invented.weight" in told
    assert f"holds tensors that {INDEX} does not name: model.llm.norm.weight" in told


def test_a_tensor_in_two_shards_is_refused(sharded):
    name, value = next(iter(load_file(sharded / FIRST).items()))
    edit_weights(sharded / SECOND, lambda tensors: tensors.update({name: value + 1}))
    with pytest.raises(CheckpointError, match=f"{name} is in {FIRST} and {SECOND}"):
        DM0.from_pretrained(sharded)


def test_another_total_size_is_told(sharded):
    edit_json(sharded / INDEX, lambda index: index["metadata"].update(total_size=12))
    with pytest.warns(UserWarning, match="says 12 bytes, the files hold"):
        DM0.from_pretrained(sharded)


def test_index_beside_a_single_file_is_refused(sharded):
    save_file({"a": torch.zeros(3)}, sharded / SINGLE)
    with pytest.raises(CheckpointError, match=r"there are both .* remove the one that is older"):
        DM0.from_pretrained(sharded)


def test_names_that_differ_in_a_number_are_told_together():
    names = ["a.0.b", "a.1.b", "a.3.b", "c", "a.7.d", "e.1.f.2.g", "e.2.f.2.g"]
    assert shorten(names) == "a.{0-1,3}.b, c, a.7.d, e.{1-2}.f.2.g"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(model_type="pi0"), "model_type is 'pi0'"),
        (lambda v: v.pop("model_type"), "model_type is None"),
        (lambda v: v.pop("llm_config"), "llm_config must be an object"),
        (lambda v: v["action_config"].pop("head_dim"), "action_config lacks head_dim"),
        (lambda v: v["llm_config"].update(hidden_size="64"), "llm_config.hidden_size must be"),
        (lambda v: v["llm_config"].update(hidden_size=64.5), "whole number"),
        (lambda v: v["action_config"].update(num_hidden_layers=3), "num_hidden_layers is 2"),
        (lambda v: v.pop("vision_config"), "mm_vision_tower 'pe_test' is unknown"),
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
    plain = DM0.from_pretrained(folder).config
    text = (folder / "config.json").read_text().rstrip()
    (folder / "config.json").write_text(text[:-1].rstrip() + ",\n}\n")
    assert DM0.from_pretrained(folder).config == plain


def test_unread_config_fields_survive_saving(folder, tmp_path):
    edit_config(folder, lambda values: values.update(ar_loss_weight=1.0))
    DM0.from_pretrained(folder).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["ar_loss_weight"] == 1.0


def test_missing_folder_config_weights_and_shard_are_named(sharded):
    with pytest.raises(CheckpointError, match="is no folder"):
        DM0.from_pretrained(sharded / "nowhere")
    with pytest.raises(CheckpointError, match="is no folder"):
        DM0.from_pretrained("./nowhere")
    (sharded / SECOND).unlink()
    with pytest.raises(CheckpointError, match=rf": {SECOND} is missing, .* 40 tensors; copy it$"):
        DM0.from_pretrained(sharded)
    (sharded / INDEX).write_text("{}")
    with pytest.raises(CheckpointError, match=r"index\.json is broken"):
        DM0.from_pretrained(sharded)
    (sharded / INDEX).unlink()
    with pytest.raises(CheckpointError, match="neither"):
        DM0.from_pretrained(sharded)
    (sharded / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        DM0.from_pretrained(sharded)


def test_pickled_weights_are_never_read(folder):
    (folder / SINGLE).rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="can run code"):
        DM0.from_pretrained(folder)


@pytest.mark.parametrize("place", ["../secret.safetensors", "/etc/passwd", "..", "sub/a"])
def test_index_may_not_point_outside(sharded, place):
    edit_json(sharded / INDEX, lambda index: index["weight_map"].update({UP: place}))
    with pytest.raises(CheckpointError, match="points outside its folder"):
        DM0.from_pretrained(sharded)


def test_config_survives_its_own_json():
    assert DM0Config.from_dict(SMALL.to_dict()) == SMALL


MEASURE = """
import sys, warnings
import torch
from dm0_ros.model import DM0

def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))

torch.set_num_threads(1)
DM0.from_pretrained(sys.argv[1])  # imports, and whatever the libraries allocate once
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again at what is resident now
before = memory("VmRSS")
model = DM0.from_pretrained(sys.argv[2])
print(memory("VmHWM") - before, sum(value.nbytes for value in model.state_dict().values()))
"""


def test_peak_memory_is_little_more_than_the_weights(tmp_path):
    """Resident pages of any kind count, so those of the mapped file do, too."""
    layers = {"num_hidden_layers": 14, "num_attention_heads": 8, "num_key_value_heads": 4}
    llm = replace(SMALL.llm, hidden_size=768, intermediate_size=3072, head_dim=64, **layers)
    expert = replace(SMALL.expert, head_dim=64, **layers)
    config = replace(SMALL, llm=llm, expert=expert, bf16=True)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in DM0(config).state_dict().items()}
    tensors = {name: torch.full(shape, 0.5).bfloat16() for name, shape in shapes.items()}
    large = write_public(tmp_path / "large")
    (large / SINGLE).unlink()
    write_weights(large, tensors, shards=2)
    edit_json(large / "config.json", lambda values: values.update(config.to_dict()))
    size = sum(tensor.nbytes for tensor in tensors.values())
    assert size > 200e6
    small = write_public(tmp_path / "small")
    program = [sys.executable, "-c", MEASURE, str(small), str(large)]
    result = subprocess.run(program, capture_output=True, text=True, check=True)
    peak, kept = map(int, result.stdout.split())
    assert kept == pytest.approx(size, rel=0.01)
    assert kept < peak < 1.2 * size
