# SPDX-License-Identifier: Apache-2.0
"""What a line of Dexdata asks and answers."""

import re
from typing import Any

from dm0_ros.training.sources.sample import BrokenEpisodeError

_PICTURE = re.compile(r"<image>\s*")  # pictures have their own place, before all text


def read_dialogue(line: dict[str, Any], name: str) -> tuple[str, str | None]:
    """Question and answer of a line; None where there is nothing to answer.

    Of a conversation of many turns the last answer is learnt, and the turns before it are part
    of the question, one a row. Raises `BrokenEpisodeError` with ``name`` where there is no text.
    """
    if "conversations" in line:
        return _read_turns(line["conversations"], name)
    prompt, answer = line.get("prompt"), line.get("answer")
    if not isinstance(prompt, str) or not prompt.strip():
        raise BrokenEpisodeError(f"{name}: has no 'prompt' and no 'conversations'")
    if not isinstance(answer, (str, type(None))):
        raise BrokenEpisodeError(f"{name}: 'answer' is no text")
    return _clean(prompt), answer or None


def _read_turns(turns: Any, name: str) -> tuple[str, str]:
    try:
        speakers = [turn["from"] for turn in turns]
        texts = [_clean(turn["value"]) for turn in turns]
    except (TypeError, KeyError) as cause:
        message = f"{name}: a turn of 'conversations' has no 'from' or no 'value'"
        raise BrokenEpisodeError(message) from cause
    if not turns or speakers != ["human", "gpt"] * (len(turns) // 2):
        raise BrokenEpisodeError(
            f"{name}: 'conversations' must go from human to gpt in turn, found "
            f"{', '.join(map(str, speakers)) or 'nothing'}"
        )
    return "\n".join(texts[:-1]), texts[-1]


def _clean(text: str) -> str:
    return _PICTURE.sub("", text).strip()
