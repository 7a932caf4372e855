# SPDX-License-Identifier: Apache-2.0
"""Prompt ids of public checkpoints, with a tokenizer of one of them where it is at hand.

DM0_QWEN_TOKENIZER names the folder: vocab.json, merges.txt, added_tokens.json,
tokenizer_config.json. Expected ids: facts/dm0_model.md, C.3 to C.5.
"""

import json
import os
from pathlib import Path

import pytest

from dm0_ros.model.config import DM0Config
from dm0_ros.policy.prompt import encode_prompt, prompt_segments
from dm0_ros.policy.tokenizer import load_tokenizer

FOLDER = os.environ.get("DM0_QWEN_TOKENIZER")
pytestmark = pytest.mark.skipif(
    FOLDER is None,
    reason="needs a public checkpoint's tokenizer: set DM0_QWEN_TOKENIZER to its folder",
)
OPENING = [
    32, 6236, 1948, 264, 22208, 1196, 323, 458, 20443, 11229, 17847, 13, 576, 17847, 6696, 10950,
    11, 11682, 11, 323, 47787, 11253, 311, 279, 1196, 594, 4755, 13, 220,
]  # fmt: skip
ROLE = [6448, 25, 220]
COASTER = [2007, 279, 10525, 389, 279, 81068, 220]
COUNTS = {
    "place the cup on the coaster": 39,
    "Insert the RJ45 connector of the Ethernet cable into the host.": 47,
    "stack the four paper cups on top of the paper cup closest to the shelf one by one and place "
    "the stacked cups on the shelf": 59,
    "What action should the robot take to put both moka pots on the stove?": 49,
}
ADDED = {
    "<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<|EOT|>": 151669,
    "<im_patch>": 151679, "<im_start>": 151680, "<im_end>": 151681, "<action_0>": 151698,
    "<action_254>": 151952, "<robot_ur5>": 151953, "<robot_arx5>": 151957,
    "<robot_dlr_edan>": 151970, "<eef_control>": 151971, "<joint_control>": 151972,
    "<action>0</action>": 151973, "<action>727</action>": 152700,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(FOLDER)


def test_a_prompt_has_the_published_ids(tokenizer):
    ids, mask = encode_prompt(tokenizer, "place the cup on the coaster", 100)
    assert ids[mask].tolist() == OPENING + ROLE + COASTER
    assert ids[~mask].tolist() == [151643] * 61


@pytest.mark.parametrize("instruction", COUNTS)
def test_a_prompt_has_the_published_length(tokenizer, instruction):
    assert encode_prompt(tokenizer, instruction, 100)[1].sum() == COUNTS[instruction]


def test_segments_encoded_together_would_differ(tokenizer):
    segments = prompt_segments("place the cup on the coaster")
    assert tokenizer.encode("".join(segments)) != OPENING + ROLE + COASTER


def test_vocabulary_and_padding(tokenizer):
    assert (tokenizer.size, tokenizer.pad_id) == (152701, 151643)


@pytest.mark.parametrize("token", ADDED)
def test_added_tokens_are_one_id_each(tokenizer, token):
    assert tokenizer.encode(token) == [ADDED[token]]
    around = tokenizer.encode(f"go{token}{token} on")
    assert around == [
        *tokenizer.encode("go"),
        ADDED[token],
        ADDED[token],
        *tokenizer.encode(" on"),
    ]


def test_the_cue_for_an_answer(tokenizer):
    assert tokenizer.encode("ASSISTANT: ") == [4939, 3846, 2821, 25, 220]


def test_the_network_of_its_folder_knows_every_id(tokenizer):
    path = Path(FOLDER) / "config.json"
    if not path.is_file():
        pytest.skip("the folder has no config.json beside its tokenizer")
    config = DM0Config.from_dict(json.loads(path.read_text()))
    assert config.llm.vocab_size == tokenizer.size
