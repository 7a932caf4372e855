# SPDX-License-Identifier: Apache-2.0
"""Texts as tokens: what is learnt, what the expert sees, and what does not fit."""

import pytest

from dm0_ros.errors import CheckpointError, Dm0Error, InstructionError
from dm0_ros.policy.prompt import CUE, STOP, encode_prompt
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.training.texts import Text, tokenise
from dm0_ros.training.vocabulary import save_tokenizer, train_tokenizer

ANSWER = "subtask: go on\nbox: 001 020 300 999\npath: main 007 008\n"
LINES = ANSWER.splitlines(keepends=True)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train_tokenizer(["touch the red block"], 600, [ANSWER]), folder)
    return load_tokenizer(folder)


def one(tokenizer, *values, **named):
    texts = tokenise([Text("touch the red block", *values, **named)], tokenizer, 40, 80)
    assert texts.token_mask.all()
    ids = texts.token_ids[0].tolist()
    learnt = tokenizer.decode(
        [t for t, is_learnt in zip(ids, texts.learnt[0], strict=True) if is_learnt]
    )
    return tokenizer.decode(ids), learnt, tokenizer.decode(ids[: int(texts.shown)])


def prompt(tokenizer):
    ids, valid = encode_prompt(tokenizer, "touch the red block", 40)
    return tokenizer.decode(ids[valid].tolist())


def test_answer_and_stop_token_are_learnt_and_the_expert_sees_the_answer(tokenizer):
    whole, learnt, shown = one(tokenizer, ANSWER)
    assert whole == prompt(tokenizer) + CUE + ANSWER + STOP
    assert learnt == ANSWER + STOP
    assert shown == prompt(tokenizer) + CUE + ANSWER


@pytest.mark.parametrize("lines", [0, 1, 2, 3])
def test_the_expert_sees_the_first_lines_or_no_cue_at_all(tokenizer, lines):
    whole, learnt, shown = one(tokenizer, ANSWER, lines)
    assert learnt == ANSWER + STOP and whole.endswith(STOP)
    cued = CUE + "".join(LINES[:lines]) if lines else ""
    assert shown == prompt(tokenizer) + cued


def test_an_old_answer_is_seen_and_not_learnt(tokenizer):
    whole, learnt, shown = one(tokenizer, ANSWER, 2, learnt=False)
    assert learnt == ""
    assert whole == prompt(tokenizer) + CUE + ANSWER
    assert shown == prompt(tokenizer) + CUE + "".join(LINES[:2])


def test_without_an_answer_there_is_no_cue(tokenizer):
    assert one(tokenizer) == (prompt(tokenizer), "", prompt(tokenizer))


def test_texts_are_padded_to_the_longest(tokenizer):
    said = [Text("touch the red block"), Text("touch the red block", ANSWER)]
    texts = tokenise(said, tokenizer, 40, 80)
    lengths = texts.token_mask.sum(1).tolist()
    assert lengths[0] == int(texts.prompts[0]) < lengths[1] == texts.token_ids.shape[1]
    assert (texts.token_ids[0, lengths[0] :] == tokenizer.pad_id).all()
    assert not texts.learnt[0].any()


def test_what_does_not_fit_is_refused(tokenizer, tmp_path):
    with pytest.raises(Dm0Error, match="it must have 1 to 10"):
        tokenise([Text("touch", ANSWER)], tokenizer, 40, 10)
    with pytest.raises(Dm0Error, match="an answer has 0 tokens"):
        tokenise([Text("touch", "")], tokenizer, 40, 10)
    with pytest.raises(InstructionError, match="too long"):
        tokenise([Text("touch " * 50)], tokenizer, 40, 10)
    save_tokenizer(train_tokenizer(["touch the red block"], 600), tmp_path)
    with pytest.raises(CheckpointError, match="no token"):
        tokenise([Text("touch", "go")], load_tokenizer(tmp_path), 40, 80)
