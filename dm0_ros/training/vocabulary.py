# SPDX-License-Identifier: Apache-2.0
"""A small tokenizer for a small network: byte-level BPE trained on the world's own sentences."""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.prompt import CUE, OPENING, ROLE, STOP
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.scaffold.content import BINS

PAD = "<|endoftext|>"
SPEECH = (CUE, STOP, *(f"<action_{number}>" for number in range(BINS)))
"""What answers need beside words. Stop token and actions have the public vocabulary's names."""
_FILES = ("tokenizer.json", "tokenizer_config.json")
# of public checkpoints, instead of the first
_PUBLIC_FILES = ("vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")


def train_tokenizer(
    sentences: Iterable[str], size: int, answers: Iterable[str] | None = None
) -> Tokenizer:
    """A tokenizer of at most ``size`` ids that can encode any text.

    The constant opening of the prompt and its role are one token each: they say nothing that
    would be worth forty tokens of a small network's time. With ``answers``, samples of what is
    answered, it also has `SPEECH`, and every digit is a token of its own, as in Qwen's.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    constants = [OPENING, ROLE]
    if answers is not None:
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, tokenizer.pre_tokenizer])
        constants += SPEECH
        sentences = [*sentences, *_without_speech(answers)]
        _check_room(size, 256 + 1 + len(constants))
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(constants),
        special_tokens=[PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    _add_tokens(tokenizer, constants)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the two files that `dm0_ros.policy.tokenizer.load_tokenizer` reads."""
    tokenizer.save(str(folder / _FILES[0]))
    config = json.dumps({"pad_token": PAD}, indent=1)
    (folder / _FILES[1]).write_text(config + "\n", encoding="utf-8")


def copy_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer of the checkpoint folder whose words a training goes on with."""
    for name in (*_FILES, *_PUBLIC_FILES):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def add_speech(folder: Path, size: int) -> None:
    """Let the tokenizer in a folder have `SPEECH`, in ids that no token has yet.

    One that has a stop token is left as it is: the public one does without a token for the cue.
    Raises `Dm0Error` where a network of ``size`` ids has no room for them.
    """
    if load_tokenizer(folder).find(STOP) is not None:
        return
    path = folder / _FILES[0]
    tokenizer = Tokenizer.from_file(str(path))
    missing = [token for token in SPEECH if tokenizer.token_to_id(token) is None]
    _check_room(size, tokenizer.get_vocab_size() + len(missing))
    _add_tokens(tokenizer, missing)
    tokenizer.save(str(path))


def _add_tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> None:
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in texts])


def _without_speech(answers: Iterable[str]) -> list[str]:
    """Answers without what will be tokens of their own: merges inside of it would be wasted."""
    pattern = "|".join(re.escape(token) for token in SPEECH)
    return [re.sub(pattern, "", answer) for answer in answers]


def _check_room(size: int, needed: int) -> None:
    if needed > size:
        raise Dm0Error(
            f"answers need {needed} token ids, the network has {size}; raise llm.vocab_size"
        )
