# SPDX-License-Identifier: Apache-2.0
"""A small tokenizer for a small network: byte-level BPE trained on the world's own sentences."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from dm0_ros.policy.prompt import OPENING, ROLE

PAD = "<|endoftext|>"
_FILES = ("tokenizer.json", "tokenizer_config.json")


def train_tokenizer(sentences: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer of at most ``size`` ids that can encode any text.

    The constant opening of the prompt and its role are one token each: they say nothing that
    would be worth forty tokens of a small network's time.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    constants = [OPENING, ROLE]
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(constants),
        special_tokens=[PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in constants])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the two files that `dm0_ros.policy.tokenizer.load_tokenizer` reads."""
    tokenizer.save(str(folder / _FILES[0]))
    config = json.dumps({"pad_token": PAD}, indent=1)
    (folder / _FILES[1]).write_text(config + "\n", encoding="utf-8")


def copy_tokenizer(source: Path, folder: Path) -> None:
    """The same two files, from the checkpoint folder whose words a training goes on with."""
    for name in _FILES:
        shutil.copyfile(source / name, folder / name)
