# SPDX-License-Identifier: Apache-2.0
"""Prompt layout and tokenizers, with a byte-level tokenizer made on the spot."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from dm0_ros.errors import CheckpointError, InstructionError
from dm0_ros.policy.prompt import OPENING, ROLE, clean_instruction, encode_prompt
from dm0_ros.policy.tokenizer import load_tokenizer

SENTENCES = [OPENING, "USER: touch the red block ", "USER: put the cup on the coaster "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint folder with a tokenizer that merges across blanks, as a bad one could."""
    path = tmp_path_factory.mktemp("checkpoint")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(SENTENCES * 5, trainer)
    raw.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder)


def test_segments_are_encoded_one_by_one(tokenizer):
    instruction = "touch the red block"
    ids, mask = encode_prompt(tokenizer, instruction, 300)
    segments = [OPENING, ROLE, instruction + " "]
    expected = [token for text in segments for token in tokenizer.encode(text)]
    assert ids[mask].tolist() == expected
    assert expected != tokenizer.encode("".join(segments))  # else this test could not fail


def test_padding_is_on_the_right_and_masked(tokenizer):
    ids, mask = encode_prompt(tokenizer, "touch the red block", 300)
    length = int(mask.sum())
    assert ids.shape == mask.shape == (300,)
    assert mask[:length].all() and not mask[length:].any()
    assert (ids[length:] == tokenizer.pad_id).all()


def test_mask_goes_by_length_not_by_id(tokenizer):
    plain = encode_prompt(tokenizer, "go", 300)[1].sum()
    ids, mask = encode_prompt(tokenizer, "go<|endoftext|>", 300)
    assert mask.sum() == plain + 1
    assert tokenizer.pad_id in ids[mask]


@given(st.text())
def test_cleaned_instruction_is_one_stripped_line(text):
    if not text.strip():
        with pytest.raises(InstructionError):
            clean_instruction(text)
        return
    cleaned = clean_instruction(text)
    assert "\n" not in cleaned and "\r" not in cleaned
    assert cleaned == cleaned.strip()
    assert clean_instruction(cleaned) == cleaned


def test_line_breaks_become_one_space():
    assert clean_instruction("  touch\nthe red\r\nblock \n") == "touch the red block"


@pytest.mark.parametrize("text", ["", "   ", "\n\t\r\n"])
def test_empty_instruction_is_refused(tokenizer, text):
    with pytest.raises(InstructionError, match="instruction is empty; say what to do"):
        encode_prompt(tokenizer, text, 300)


def test_long_instruction_is_refused_with_both_numbers(tokenizer):
    text = ("touch the red block " * 500)[:10_000]
    count = sum(len(tokenizer.encode(part)) for part in (OPENING, ROLE, text.strip() + " "))
    with pytest.raises(InstructionError, match=f"has {count} tokens and the checkpoint takes 100"):
        encode_prompt(tokenizer, text, 100)


def test_exact_fit_is_taken(tokenizer):
    length = int(encode_prompt(tokenizer, "touch", 300)[1].sum())
    assert encode_prompt(tokenizer, "touch", length)[1].all()
    with pytest.raises(InstructionError):
        encode_prompt(tokenizer, "touch", length - 1)


def test_stored_padding_and_truncation_are_switched_off(folder, tmp_path):
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    raw.enable_truncation(3)
    raw.enable_padding(length=50)
    raw.save(str(tmp_path / "tokenizer.json"))
    assert len(load_tokenizer(tmp_path).encode("zyx wvu")) == 7


def test_qwen_files_give_the_same_ids(folder, tmp_path):
    # A vocabulary without merges across words, so that Qwen's splitting changes nothing.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*letters, "to", "Ġb"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\nt o\nĠ b\n", encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    expected = [vocabulary[piece] for piece in ["to", "u", "c", "h", "Ġb", "Ġ"]]
    assert tokenizer.encode("touch b ") == expected
    assert tokenizer.pad_id == len(vocabulary)  # <|endoftext|>, added after the vocabulary
    assert tokenizer.size == len(vocabulary) + 1


def test_missing_files_are_named(tmp_path):
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer.json is missing, and so is merges.txt"):
        load_tokenizer(tmp_path)


def test_broken_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(CheckpointError, match=r"tokenizer.json: is not a readable tokenizer"):
        load_tokenizer(tmp_path)


def test_padding_token_is_read_from_the_config(folder, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"pad_token": {"content": "a"}}')
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("a") == [tokenizer.pad_id]
    config.write_text('{"pad_token": "<pad>"}')
    with pytest.raises(CheckpointError, match="has no token '<pad>' to pad with"):
        load_tokenizer(tmp_path)


def test_ids_fit_the_arrays_of_torch(tokenizer):
    assert encode_prompt(tokenizer, "go", 200)[0].dtype == np.int64
