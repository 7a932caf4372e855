# SPDX-License-Identifier: Apache-2.0
"""The small tokenizer: words of its world, single digits, and tokens that answers need."""

import pytest

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.prompt import CUE, OPENING, ROLE, STOP
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.training.vocabulary import add_speech, save_tokenizer, train_tokenizer

SENTENCES = [f"touch the {colour} block" for colour in ("red", "green", "blue")]
ANSWERS = [
    f"subtask: move above the {colour} block\npath: main 12{n} 4{n}7\naction: <action_{n}>\n"
    for n in range(10)
    for colour in ("red", "green", "blue")
]


def tokenizer_in(folder, *arguments):
    save_tokenizer(train_tokenizer(*arguments), folder)
    return load_tokenizer(folder)


def test_digits_actions_cue_and_stop_are_single_tokens(tmp_path):
    tokenizer = tokenizer_in(tmp_path, SENTENCES, 768, ANSWERS)
    for text in (OPENING, ROLE, CUE, STOP, "<action_0>", "<action_254>", "\n", *"0123456789"):
        assert len(tokenizer.encode(text)) == 1, text
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.find(STOP) is not None and tokenizer.find("<action_255>") is None
    text = "path: main 120 407 555 006\n"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    digits = {token for digit in "0123456789" for token in tokenizer.encode(digit)}
    assert sum(token in digits for token in ids) == 12
    assert all(len(tokenizer.encode(f"{n}")) == 3 for n in range(100, 130))


def test_a_line_is_encoded_alone_as_in_its_text(tmp_path):
    tokenizer = tokenizer_in(tmp_path, SENTENCES, 768, ANSWERS)
    lines = ANSWERS[4].splitlines(keepends=True)
    alone = [token for line in lines for token in tokenizer.encode(line)]
    assert alone == tokenizer.encode(ANSWERS[4])


def test_words_of_answers_are_learnt(tmp_path):
    (tmp_path / "plain").mkdir()
    plain = tokenizer_in(tmp_path / "plain", SENTENCES, 768)
    tokenizer = tokenizer_in(tmp_path, SENTENCES, 768, ANSWERS)
    assert len(tokenizer.encode("subtask: ")) < len(plain.encode("subtask: "))
    assert plain.find(STOP) is None and tokenizer.size <= 768


def test_a_tokenizer_that_is_kept_gets_what_answers_need_behind_its_words(tmp_path):
    before = tokenizer_in(tmp_path, SENTENCES, 768)
    ids = before.encode("touch the red block")
    add_speech(tmp_path, 768)
    after = load_tokenizer(tmp_path)
    assert after.encode("touch the red block") == ids
    assert min(after.find(STOP), after.find(CUE), after.find("<action_0>")) >= before.size
    assert after.size == before.size + 257
    content = (tmp_path / "tokenizer.json").read_bytes()
    add_speech(tmp_path, after.size)
    assert (tmp_path / "tokenizer.json").read_bytes() == content


def test_too_few_ids_are_refused(tmp_path):
    with pytest.raises(Dm0Error, match="need 516 token ids, the network has 500"):
        train_tokenizer(SENTENCES, 500, ANSWERS)
    tokenizer_in(tmp_path, SENTENCES, 400)
    with pytest.raises(Dm0Error, match="the network has 400"):
        add_speech(tmp_path, 400)
