# SPDX-License-Identifier: Apache-2.0
"""Prompts and answers as token ids, and which of them are learnt and shown to the expert."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.prompt import encode_cue, encode_lines, encode_prompt, find_stop
from dm0_ros.policy.tokenizer import Tokenizer


class AnswerError(Dm0Error):
    """An answer does not fit, or is empty."""


@dataclass(frozen=True)
class Text:
    """What one sample says.

    The expert sees the answer's first ``lines``, cue included: None for all of it, 0 for the
    prompt alone. An answer that is not ``learnt`` is seen, as one that was written some time ago
    is; nobody would write it now.
    """

    instruction: str
    answer: str | None = None
    lines: int | None = None
    learnt: bool = True


@dataclass(frozen=True)
class TokenisedTexts:
    """B texts of at most T tokens; see `HybridBatch`, which has the same names."""

    token_ids: torch.Tensor
    token_mask: torch.Tensor
    learnt: torch.Tensor
    prompts: torch.Tensor
    shown: torch.Tensor


def tokenise(
    texts: Sequence[Text], tokenizer: Tokenizer, most_prompt: int, most_answer: int
) -> TokenisedTexts:
    """Prompt | cue | answer | stop token of each text, padded behind to the longest.

    Each line of an answer is encoded on its own with its line break, so that it ends with a token
    wherever it is cut. Prompts have at most ``most_prompt`` tokens, answers ``most_answer``.

    Raises:
        InstructionError: a prompt does not fit. AnswerError: an answer does not, or is empty.
        CheckpointError: the tokenizer has no stop token.
    """
    parts = [_encode(text, tokenizer, most_prompt, most_answer) for text in texts]
    longest = max(len(part.ids) for part in parts)
    ids = np.full((len(parts), longest), tokenizer.pad_id, np.int64)
    for row, part in zip(ids, parts, strict=True):
        row[: len(part.ids)] = part.ids
    lengths = np.array([len(part.ids) for part in parts])
    first = np.array([part.first for part in parts])
    place = np.arange(longest)
    mask = place < lengths[:, None]
    return TokenisedTexts(
        token_ids=torch.from_numpy(ids),
        token_mask=torch.from_numpy(mask),
        learnt=torch.from_numpy(mask & (place >= first[:, None])),
        prompts=torch.tensor([part.prompt for part in parts]),
        shown=torch.tensor([part.shown for part in parts]),
    )


@dataclass(frozen=True)
class _Ids:
    ids: list[int]
    prompt: int  # tokens of the prompt
    first: int  # learnt token; behind the end where there is none
    shown: int


def _encode(text: Text, tokenizer: Tokenizer, most_prompt: int, most_answer: int) -> _Ids:
    padded, valid = encode_prompt(tokenizer, text.instruction, most_prompt)
    prompt = padded[valid].tolist()
    if text.answer is None:
        return _Ids(prompt, len(prompt), len(prompt), len(prompt))
    lines = encode_lines(tokenizer, text.answer)
    count = sum(map(len, lines))
    if not 0 < count <= most_answer:
        raise AnswerError(
            f"an answer has {count} tokens; it must have 1 to {most_answer}, the limit that the "
            f"recipe sets: {text.answer[:60]!r}"
        )
    answer = [token for line in lines for token in line]
    ids = [*prompt, *encode_cue(tokenizer).tolist(), *answer]
    seen = sum(map(len, lines[: text.lines]))
    shown = len(ids) - count + seen if seen else len(prompt)
    if not text.learnt:
        return _Ids(ids, len(prompt), len(ids), shown)
    return _Ids([*ids, find_stop(tokenizer)], len(prompt), len(ids) - count, shown)
