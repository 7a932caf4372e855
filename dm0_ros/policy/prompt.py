# SPDX-License-Identifier: Apache-2.0
"""The prompt layout of DM0: a fixed opening, a role, the instruction; padding on the right."""

import re

import numpy as np

from dm0_ros.errors import CheckpointError, InstructionError
from dm0_ros.policy.tokenizer import Tokenizer

# The opening that DM0 was trained with (dexbotic's "step" conversation), trailing space included.
OPENING = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
ROLE = "USER: "
# Asks for an answer, behind the prompt; the answer ends with the stop token.
CUE = "ASSISTANT: "
STOP = "<|im_end|>"


def clean_instruction(instruction: str) -> str:
    """The instruction on one line without outer blanks; raises `InstructionError` when empty."""
    if not isinstance(instruction, str):
        raise InstructionError(f"the instruction must be text, found {instruction!r}")
    text = re.sub(r"[\r\n]+", " ", instruction.strip())
    if not text:
        raise InstructionError(
            "the instruction is empty; say what to do, for example 'touch the red block'"
        )
    return text


def prompt_segments(instruction: str) -> tuple[str, str, str]:
    """The three texts that a prompt is made of. For actions alone no `CUE` comes after them."""
    return OPENING, ROLE, clean_instruction(instruction) + " "


def encode_prompt(
    tokenizer: Tokenizer, instruction: str, max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids (T,) int64, T = ``max_tokens``, and the mask (T,) that is true on text.

    Segments are encoded one by one, since a merge across their borders would give ids that the
    network never saw. The mask goes by length: an id equal to the padding id may be real text.
    Raises `InstructionError` when the text is empty or does not fit; it is never cut.
    """
    ids = [token for text in prompt_segments(instruction) for token in tokenizer.encode(text)]
    if len(ids) > max_tokens:
        raise InstructionError(
            f"the instruction is too long: the prompt has {len(ids)} tokens "
            f"and the checkpoint takes {max_tokens}; shorten the instruction"
        )
    padded = np.full(max_tokens, tokenizer.pad_id, np.int64)
    padded[: len(ids)] = ids
    return padded, np.arange(max_tokens) < len(ids)


def encode_cue(tokenizer: Tokenizer) -> np.ndarray:
    """Token ids (U,) int64 of `CUE`, a segment of its own."""
    return np.array(tokenizer.encode(CUE), np.int64)


def encode_lines(tokenizer: Tokenizer, text: str) -> list[list[int]]:
    """Token ids of an answer, each line with its break encoded on its own.

    So a line ends with a token, wherever the answer is cut.
    """
    return [tokenizer.encode(line) for line in text.splitlines(keepends=True)]


def find_stop(tokenizer: Tokenizer) -> int:
    """The id of `STOP`. Raises `CheckpointError` where the tokenizer lacks it."""
    found = tokenizer.find(STOP)
    if found is None:
        raise CheckpointError(
            f"the tokenizer has no token {STOP}, which ends a text: a checkpoint that reasons "
            "needs it as an added token in tokenizer.json"
        )
    return found
