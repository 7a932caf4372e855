# SPDX-License-Identifier: Apache-2.0
"""The parser is total: any text is a scaffold that says just that, or is refused by name."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaffold_samples import GRAMMARS, SCAFFOLDS, draw_scaffold

from dm0_ros.scaffold.content import Rejection, Scaffold
from dm0_ros.scaffold.levels import Level, first_levels
from dm0_ros.scaffold.parser import LONGEST_TEXT

MILLION = 1_000_000
GRAMMAR_NAMES = pytest.mark.parametrize("name", GRAMMARS)
NANO = (
    "subtask: move to the red block\n"
    "box: 412 530 498 610\n"
    "path: left 480 590 470 560 right 007 000\n"
    "action: <action_0><action_254>\n"
)


def check(grammar, text):
    """What the text is; a scaffold only if the text is the very one that says it."""
    found = grammar.parse(text)
    if isinstance(found, Rejection):
        assert found.reason and "\n" not in found.reason and found.reason.isprintable()
        assert len(found.reason) < 400
    else:
        assert grammar.write(found, grammar.complete_levels(text)) == text
    return found


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        # numbers
        ("412", "1412", "box: x_min is 1412; it must lie in 0 to 1000"),
        ("530", "1001", "box: y_min is 1001"),
        (
            "412",
            "-12",
            r"line 2 (box), character 6: x_min: expected a number from 0 on, found '-12",
        ),
        ("412", "0412", "x_min is written 0412; write 412"),
        ("412", "12", "x_min is written 12; write 012"),
        ("412", "412.5", "after x_min: expected ' ', found '.5 530"),
        ("412", "4e2", "x_min is written 4; write 004"),
        ("412", "\u0664\u0661\u0662", r"x_min: expected a number from 0 on, found '\u0664"),
        ("412", "nan", "x_min: expected a number from 0 on, found 'nan 530"),
        ("412", "9" * 500, "x_min has more than 9 digits"),
        ("412", "512", "box: x_min 512 is above x_max 498"),
        ("530", "630", "box: y_min 630 is above y_max 610"),
        # lists
        ("498 610", "498", "line 2 (box), character 17: after x_max: expected ' ', found the end"),
        ("498 610", "498 ", "y_max: expected a number from 0 on, found the end of the line"),
        (
            "498 610",
            "498 610 5",
            "line 2 (box), character 21: nothing may follow here, found ' 5'",
        ),
        ("box: 412 530 498 610", "box: ", "x_min: expected a number from 0 on, found the end"),
        ("box: 412 530 498 610", "box: none ", "x_min: expected a number from 0 on, found 'none "),
        (
            " 560",
            "",
            "y of point 2 of path left: expected a number from 0 on, found 'right 007 000'",
        ),
        (
            "470 560",
            "470",
            "y of point 2 of path left: expected a number from 0 on, found 'right 007 000'",
        ),
        (" 590", " 590" + " 100 100" * 24, "path left has 26 points; a path has 1 to 25"),
        ("left 480 590 470 560 ", "left ", "x of point 1 of path left: expected a number"),
        # names
        ("left", "middle", "unknown path 'middle 480 590 470 5'; paths are main, left, right"),
        (
            "right",
            "upper",
            "x of point 3 of path left: expected a number from 0 on, found 'upper 007 000'",
        ),
        ("right", "left", "path left stands a second time"),
        ("right", "main", "path main stands after left; it belongs before it"),
        ("<action_254>", "<action_255>", "action 2 is 255; it must lie in 0 to 254"),
        ("<action_254>", "<action_007>", "action 2 is written 007; write 7"),
        ("<action_254>", "<robot_ur5>", "action 2: expected '<action_', found '<robot_ur5>'"),
        ("<action_254>", "<action_254", "after action 2: expected '>', found the end of the line"),
        ("<action_0>", " <action_0>", "action 1: expected '<action_', found ' <action_0>"),
        ("<action_0><action_254>", "", "action 1: expected '<action_', found the end"),
        # segments
        ("box: ", "bix: ", "line 2 (box), character 1: box: expected 'box: ', found 'bix: 412"),
        ("box: 412 530 498 610\n", "", "line 2 (box), character 1: trajectory comes too early"),
        ("box: ", "subtask: ", "line 2 (box), character 1: subtask stands a second time; box is"),
        ("subtask: ", "", "line 1 (subtask), character 1: subtask: expected 'subtask: '"),
        ("subtask: move to the red block\n", "", "box comes too early; subtask is due"),
        ("subtask: move", "subtask:  move", "the subtask has a blank at its start"),
        ("move to the red block", "", "line 1 (subtask), character 10: the subtask is empty"),
        ("move", "mo\rve", r"the subtask has '\r' at 3; it is one line of printable text"),
        ("move", "mo\ufffdve", r"the subtask has '\ufffd' at 3"),
        ("move", "<|im_end|>", "the subtask contains '<|', which means something else"),
        (
            "subtask: move to the red block",
            "",
            "line 1 (subtask), character 1: subtask: expected 'subtask: '",
        ),
        ("_254>\n", "_254>", "line 4 (action), character 31: the text ends inside the line"),
        ("_254>\n", "_254>\n\n", "line 5: nothing may follow the 4 levels"),
        ("_254>\n", "_254>\n" + NANO, "line 5: nothing may follow the 4 levels"),
        (NANO, "", "the text is empty"),
        (
            NANO,
            "\n",
            "line 1 (subtask), character 1: subtask: expected 'subtask: ', found the end",
        ),
        (NANO, "subtask: go", "the text ends inside the line; a level ends with a line break"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(old, new, reason):
    assert isinstance(GRAMMARS["nano"].parse(NANO), Scaffold)
    assert old in NANO
    found = check(GRAMMARS["nano"], NANO.replace(old, new, 1))
    assert isinstance(found, Rejection)
    assert reason in found.reason


@pytest.mark.parametrize(
    "flood",
    [
        "a" * MILLION,
        "\n" * MILLION,
        "subtask: " + "a" * MILLION + "\n",
        "subtask: go\nbox: " + "9" * MILLION,
        "subtask: go\nbox: none\npath: main" + " 001 001" * MILLION + "\n",
        "subtask: go\nbox: none\npath: none\naction: " + "<action_1>" * MILLION + "\n",
    ],
    ids=["letters", "lines", "subtask", "digits", "points", "actions"],
)
def test_floods_are_refused_unread(flood):
    found = GRAMMARS["nano"].parse(flood)
    assert found == Rejection(
        f"the text has {len(flood)} characters; at most {LONGEST_TEXT} are read"
    )


@pytest.mark.parametrize(
    ("one", "more", "reason"),
    [
        ("001 001", " 001 001", "path main has 4001 points; a path has 1 to 25"),
        ("<action_1>", "<action_1>", "there are 3201 actions; at most 1600"),
    ],
)
def test_floods_that_are_read_are_refused_by_their_counts(one, more, reason):
    grammar = GRAMMARS["nano"]
    whole = grammar.write(Scaffold("go", None, {"main": ((1, 1),)}, (1,)), Level)
    text = whole.replace(one, one + more * (32_000 // len(more)))
    assert reason in check(grammar, text).reason


@GRAMMAR_NAMES
@settings(deadline=None)
@given(text=st.text())
def test_any_text_is_read_or_refused(name, text):
    check(GRAMMARS[name], text)


@GRAMMAR_NAMES
@settings(deadline=None)
@given(raw=st.binary())
def test_any_bytes_are_read_or_refused(name, raw):
    check(GRAMMARS[name], raw.decode(errors="replace"))


@st.composite
def mutated(draw):
    """A valid text of either grammar with a few changes."""
    grammar = GRAMMARS[draw(st.sampled_from(list(GRAMMARS)))]
    levels = first_levels(draw(st.integers(1, 4)))
    text = grammar.write(draw(SCAFFOLDS), levels)
    pieces = st.sampled_from(["\n", " ", "0", "1001", "-", "none", "main ", ")", "<action_1>", ""])
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 30, len(text))))
        copied = st.just(text[start:end] * 2)
        text = text[:start] + draw(pieces | copied | st.text(max_size=3)) + text[end:]
    return text


@GRAMMAR_NAMES
@settings(deadline=None, max_examples=300)
@given(text=mutated())
def test_texts_that_are_nearly_right_are_read_or_refused(name, text):
    check(GRAMMARS[name], text)


def random_pieces(random, longest):
    """A million bytes of anything, in texts of random lengths."""
    raw = random.bytes(MILLION)
    place = 0
    while place < MILLION:
        length = int(np.exp(random.uniform(0, np.log(longest))))
        yield raw[place : place + length].decode(errors="replace")
        place += length


def mutated_pieces(random, grammar):
    """A million bytes of valid texts, most of them with some bytes changed, lost, or repeated."""
    size = 0
    while size < MILLION:
        raw = bytearray(
            grammar.write(draw_scaffold(random), first_levels(random.integers(1, 5))).encode()
        )
        for _ in range(random.integers(0, 4)):
            place = int(random.integers(len(raw)))
            end = place + int(random.integers(1, 12))
            match random.integers(4):
                case 0:
                    raw[place] = random.integers(256)
                case 1:
                    raw[place] = ord(random.choice(list("0123456789 \n<>(),-")))
                case 2:
                    del raw[place:end]
                case 3:
                    raw[place:place] = raw[place:end]
            raw = raw or bytearray(b"\n")
        size += len(raw)
        yield raw.decode(errors="replace")


@GRAMMAR_NAMES
def test_a_million_bytes_of_anything(name):
    grammar, random = GRAMMARS[name], np.random.default_rng(5)
    raw = random.bytes(MILLION).decode(errors="replace")
    assert isinstance(check(grammar, raw), Rejection)
    found = [check(grammar, text) for text in random_pieces(random, LONGEST_TEXT)]
    assert len(found) > 100
    # with the label in front, where a template has one, more than the first sign is looked at
    label = grammar.templates.labels.subtask
    for text in random_pieces(random, 200):
        check(grammar, label + text)


@GRAMMAR_NAMES
def test_a_million_bytes_that_are_nearly_right(name):
    random = np.random.default_rng(6)
    found = [check(GRAMMARS[name], text) for text in mutated_pieces(random, GRAMMARS[name])]
    read = sum(isinstance(item, Scaffold) for item in found)
    reasons = {item.reason for item in found if isinstance(item, Rejection)}
    # the changes leave some texts valid and break others in many ways, or this would show little
    assert read > 100 and len(found) - read > 500 and len(reasons) > 200


def count_calls(function):
    """How many functions, ours and Python's own, are called: work without a clock."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        ("subtask: ", "a "),
        ("subtask: go\nbox: ", "9"),
        ("subtask: go\nbox: none\npath: main", " 001 001"),
        ("subtask: go\nbox: none\npath: main 001 001 ", "main "),
        ("subtask: go\nbox: none\npath: none\naction: ", "<action_1>"),
        ("subtask: go\nbox: none\npath: none\naction: ", "<"),
        ("", "\n"),
    ],
)
def test_work_grows_no_faster_than_the_text(start, piece):
    def work(length):
        text = start + piece * ((length - len(start)) // len(piece) - 1) + "\n"
        return count_calls(lambda: GRAMMARS["nano"].parse(text))

    assert work(LONGEST_TEXT) <= 8.4 * work(LONGEST_TEXT // 8)
