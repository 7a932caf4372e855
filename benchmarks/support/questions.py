# SPDX-License-Identifier: Apache-2.0
"""Questions about a picture whose answers the simulator knows, and how many a network gets right.

Left and right are the picture's; near is near the camera, which looks down on a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F

from dm0_ros.model import DM0
from dm0_ros.policy.tokenizer import Tokenizer
from dm0_ros.training.texts import Text, tokenise

MARGIN = 0.03  # of the picture's width, that blocks must be apart to be compared
LONGEST_ANSWER = 16  # tokens
_PLACES = ("left", "middle", "right")
_EXTREMES = {
    "on the left": (0, 1),
    "on the right": (0, -1),
    "farthest from the camera": (1, 1),
    "nearest to the camera": (1, -1),
}
"""Axis of the picture, and which end of it."""


@dataclass(frozen=True)
class Question:
    """A question, its answer, and all the answers that could be thought of."""

    kind: str
    text: str
    answer: str
    choices: tuple[str, ...]


def make_questions(
    names: Sequence[str], boxes: np.ndarray, size: tuple[int, int]
) -> list[Question]:
    """All that can be asked clearly about objects in boxes (O, 4) in pixels of a picture of
    ``size`` (width, height); of one that is out of view (NaN) nothing."""
    seen = [(name, box) for name, box in zip(names, boxes, strict=True) if np.isfinite(box).all()]
    # Where a block stands: the middle of its box across, its lower edge down.
    spots = {n: np.array([(b[0] + b[2]) / 2, b[3]]) / size[0] for n, b in seen}
    found = [_ask_where(name, spot[0]) for name, spot in spots.items()]
    choices = tuple(names)
    for words, (axis, sign) in _EXTREMES.items():
        order = sorted(spots, key=lambda name, a=axis, s=sign: s * spots[name][a])
        if len(order) > 1 and abs(spots[order[0]][axis] - spots[order[1]][axis]) >= MARGIN:
            text = f"what colour is the block {words}?"
            found.append(Question("extreme", text, order[0], choices))
    found += _ask_middle(spots, choices)
    for one, other in permutations(spots, 2):
        apart = spots[other][0] - spots[one][0]
        if abs(apart) >= MARGIN:
            text = f"is the {one} block left of the {other} block?"
            found.append(Question("relation", text, "yes" if apart > 0 else "no", ("yes", "no")))
    return found


def _ask_where(name: str, across: float) -> Question:
    answer = _PLACES[min(int(across * 3), 2)]
    return Question("where", f"where is the {name} block?", answer, _PLACES)


def _ask_middle(spots: dict[str, np.ndarray], choices: tuple[str, ...]) -> list[Question]:
    order = sorted(spots, key=lambda name: spots[name][0])
    gaps = np.diff([spots[name][0] for name in order])
    if len(order) != 3 or gaps.min() < MARGIN:
        return []
    text = "which block is between the others?"
    return [Question("between", text, order[1], choices)]


def choose_questions(questions: Sequence[Question], random: np.random.Generator) -> list[Question]:
    """One of each kind that there is."""
    return [group[random.integers(len(group))] for group in _group(questions)]


def pick(questions: Sequence[Question], part: float) -> Question:
    """The question at a part, 0 to 1, of all of them; every kind has as much room."""
    groups = _group(questions)
    place, rest = divmod(part * len(groups), 1)
    group = groups[int(place)]
    return group[int(rest * len(group))]


def _group(questions: Sequence[Question]) -> list[list[Question]]:
    kinds = sorted({question.kind for question in questions})
    return [[one for one in questions if one.kind == kind] for kind in kinds]


@torch.no_grad()
def answer_questions(
    model: DM0,
    images: torch.Tensor,
    seen: torch.Tensor,
    questions: Sequence[Question],
    tokenizer: Tokenizer,
    most_prompt: int,
) -> list[dict]:
    """How a network answers questions about one picture: ``images`` (1, V, 3, P, P), ``seen``
    (1, V).

    ``written``: whether it would write the answer and stop, each token the likeliest.
    ``chosen``: whether it finds the answer likelier than the other choices; it may know what it
    no longer says.
    """
    candidates = [(q, choice) for q in questions for choice in q.choices]
    texts = [Text(q.text, choice) for q, choice in candidates]
    batch = tokenise(texts, tokenizer, most_prompt, LONGEST_ANSWER)
    cache = model.encode_prefix(images, seen, batch.token_ids, batch.token_mask, want_hidden=True)
    rows, places = batch.learnt.nonzero(as_tuple=True)
    before = (cache.lengths - batch.token_mask.sum(1))[rows] + places - 1
    head = model.model.llm.embed_tokens.weight
    logits = F.linear(cache.hidden[rows, before].float(), head.float()).log_softmax(-1)
    wanted = batch.token_ids[rows, places]
    likelihood = torch.zeros(len(texts)).index_add(
        0, rows, logits.gather(1, wanted[:, None]).squeeze(1)
    )
    misses = torch.zeros(len(texts)).index_add(0, rows, (logits.argmax(-1) != wanted).float())
    results, first = [], 0
    for question in questions:
        own = slice(first, first + len(question.choices))
        first, right = own.stop, question.choices.index(question.answer)
        results.append(
            {
                "kind": question.kind,
                "written": bool(misses[own][right] == 0),
                "chosen": int(likelihood[own].argmax()) == right,
            }
        )
    return results
