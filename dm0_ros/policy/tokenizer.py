# SPDX-License-Identifier: Apache-2.0
"""Text into token ids, with the tokenizer that lies in the checkpoint's own folder."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dm0_ros.errors import CheckpointError

# Qwen's padding token, used by public DM0 checkpoints.
_QWEN_PAD = "<|endoftext|>"


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer reduced to what prompts and answers need."""

    encode: Callable[[str], list[int]]  # without special tokens around the text
    decode: Callable[[Sequence[int]], str]  # with every token written out, special ones too
    find: Callable[[str], int | None]  # the id of a token by its text; None: there is none
    pad_id: int
    size: int  # number of ids, added tokens included


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a checkpoint: tokenizer.json, else vocab.json and merges.txt (Qwen2).

    Raises `CheckpointError` that names the files that are missing or broken.
    """
    folder = Path(folder)
    if (folder / "tokenizer.json").is_file():
        return _load_fast(folder)
    missing = [name for name in ("vocab.json", "merges.txt") if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: has no tokenizer: tokenizer.json is missing, and so is "
            f"{' and '.join(missing)}; copy the tokenizer's files next to config.json"
        )
    return _load_qwen(folder)


def _load_fast(folder: Path) -> Tokenizer:
    from tokenizers import (
        Tokenizer as FastTokenizer,
    )  # slow import, needed by policies only

    path = folder / "tokenizer.json"
    try:
        fast = FastTokenizer.from_file(str(path))
    except Exception as cause:  # the library raises a bare Exception for broken files
        raise CheckpointError(
            f"{path}: is not a readable tokenizer ({cause}); copy it again"
        ) from cause
    fast.no_padding()
    fast.no_truncation()
    pad = _pad_token(folder)
    pad_id = fast.token_to_id(pad)
    if pad_id is None:
        raise CheckpointError(
            f"{path}: has no token '{pad}' to pad with; "
            f"add it, or name another one as pad_token in {folder / 'tokenizer_config.json'}"
        )
    return Tokenizer(
        encode=lambda text: fast.encode(text, add_special_tokens=False).ids,
        decode=lambda ids: fast.decode(list(ids), skip_special_tokens=False),
        find=fast.token_to_id,
        pad_id=pad_id,
        size=fast.get_vocab_size(with_added_tokens=True),
    )


def _load_qwen(folder: Path) -> Tokenizer:
    from transformers import Qwen2Tokenizer  # takes seconds to import

    try:
        slow = Qwen2Tokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError) as cause:
        raise CheckpointError(
            f"{folder}: vocab.json and merges.txt are no Qwen2 tokenizer ({cause}); copy again"
        ) from cause
    if slow.pad_token_id is None:
        raise CheckpointError(
            f"{folder}: its tokenizer has no padding token; "
            "name one as pad_token in tokenizer_config.json"
        )
    return Tokenizer(
        encode=lambda text: slow.encode(text, add_special_tokens=False),
        decode=lambda ids: slow.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        ),
        find=slow.get_vocab().get,
        pad_id=slow.pad_token_id,
        size=len(slow),
    )


def _pad_token(folder: Path) -> str:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return _QWEN_PAD
    try:
        token = json.loads(path.read_text(encoding="utf-8")).get("pad_token", _QWEN_PAD)
    except (ValueError, AttributeError) as cause:
        raise CheckpointError(f"{path}: is not valid JSON ({cause}); copy it again") from cause
    return token["content"] if isinstance(token, dict) else token
