# SPDX-License-Identifier: Apache-2.0
"""What is written is read back as the same; what cannot be is refused; templates are checked."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scaffold_samples import GRAMMARS, SCAFFOLDS

from dm0_ros.errors import Dm0Error, ResourceError, ScaffoldError
from dm0_ros.resources import find_resource
from dm0_ros.scaffold.content import MOST_ACTIONS, MOST_POINTS, PATH_NAMES
from dm0_ros.scaffold.grammar import Rejection, Scaffold, load_grammar, read_grammar
from dm0_ros.scaffold.levels import Level, check_levels, first_levels
from dm0_ros.scaffold.subtasks import LONGEST_SUBTASK

NAMES = tuple(GRAMMARS)
WHOLE = Scaffold(
    "move to the red block",
    (412, 530, 498, 1000),
    {"main": ((480, 590), (7, 0))},
    (0, 127, 254),
)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(scaffold=SCAFFOLDS, level=st.sampled_from(Level))
def test_what_is_written_is_read_back_the_same(name, scaffold, level):
    grammar = GRAMMARS[name]
    text = grammar.write(scaffold, first_levels(level.count))
    assert grammar.parse(text) == scaffold.up_to(level)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(scaffold=SCAFFOLDS, level=st.sampled_from(Level))
def test_a_text_cut_after_a_level_is_the_text_of_fewer_levels(name, scaffold, level):
    grammar = GRAMMARS[name]
    text = grammar.write(scaffold, Level)
    cut = grammar.truncate(text, level)
    assert text.startswith(cut)
    assert cut == grammar.write(scaffold, first_levels(level.count))
    assert grammar.truncate(cut, Level.ACTION) == cut


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(scaffold=SCAFFOLDS)
def test_a_growing_text_says_which_levels_it_has_ended(name, scaffold):
    grammar = GRAMMARS[name]
    text = grammar.write(scaffold, Level)
    ends = {len(grammar.truncate(text, level)): level for level in Level}
    due = ()
    for length in range(len(text) + 1):
        due += (ends[length],) if length in ends else ()
        assert grammar.complete_levels(text[:length]) == due
        parsed = grammar.parse(text[:length])
        # a text that stops anywhere else is never taken for a shorter scaffold
        assert isinstance(parsed, Scaffold) == (length in ends)


def test_the_shipped_texts_are_as_documented():
    assert GRAMMARS["nano"].write(WHOLE, Level) == (
        "subtask: move to the red block\n"
        "box: 412 530 498 1000\n"
        "path: main 480 590 007 000\n"
        "action: <action_0><action_127><action_254>\n"
    )
    assert GRAMMARS["paper"].write(WHOLE, Level) == (
        "move to the red block\n"
        "box: (412,530) (498,1000)\n"
        "main gripper: (480,590) (7,0)\n"
        "[<action_0>,<action_127>,<action_254>]\n"
    )


def test_paths_stand_in_one_order_whatever_the_order_of_the_dictionary():
    points = ((1, 2),)
    turned = Scaffold("go", None, {"right": points, "left": points})
    text = GRAMMARS["nano"].write(turned, first_levels(3))
    assert text.endswith("path: left 001 002 right 001 002\n")
    assert GRAMMARS["nano"].parse(text) == turned


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_in_the_picture_is_said_so(name):
    text = GRAMMARS[name].write(Scaffold("go home"), first_levels(3))
    assert text.count("none\n") == 2
    assert GRAMMARS[name].parse(text) == Scaffold("go home", None, {}, ())


@pytest.mark.parametrize("name", NAMES)
def test_the_longest_scaffold_can_be_read(name):
    paths = dict.fromkeys(PATH_NAMES, ((1000, 1000),) * MOST_POINTS)
    longest = Scaffold("a" * LONGEST_SUBTASK, (1000,) * 4, paths, (254,) * MOST_ACTIONS)
    assert GRAMMARS[name].parse(GRAMMARS[name].write(longest, Level)) == longest


@pytest.mark.parametrize(
    ("subtask", "reason"),
    [
        ("", "is empty"),
        (" go", "blank at its start or end"),
        ("go ", "blank at its start or end"),
        ("go\nbox: 001 001 001 001", r"'\\n' at 3"),
        ("go\u2028on", r"'\\u2028' at 3"),
        ("caf\ufffd", r"'\\ufffd' at 4"),
        ("go\x1b[2J", r"'\\x1b' at 3"),
        ("\ud800", r"'\\ud800' at 1"),
        ("go<|im_end|>", r"contains '<\|'"),
        ("press <action_7>", "contains '<action_'"),
        ("box: the red one", "begins as box does"),
        ("a" * (LONGEST_SUBTASK + 1), "has 201 characters; at most 200"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_words_that_would_read_as_something_else_are_no_subtask(name, subtask, reason):
    with pytest.raises(ScaffoldError, match=reason):
        GRAMMARS[name].write(Scaffold(subtask), first_levels(1))
    # and the parser agrees, so that a text is never read which could not have been written
    label = GRAMMARS[name].templates.labels.subtask
    assert isinstance(GRAMMARS[name].parse(f"{label}{subtask}\n"), Rejection) or "\n" in subtask


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"box": (0, 0, 1001, 0)}, "box: x_max is 1001; it must lie in 0 to 1000"),
        ({"box": (0, -1, 1, 0)}, "box: y_min is -1"),
        ({"box": (5, 0, 4, 0)}, "box: x_min 5 is above x_max 4"),
        ({"box": (0, 5, 0, 4)}, "box: y_min 5 is above y_max 4"),
        ({"box": (0, 0, 1)}, "box has 3 numbers"),
        ({"box": (0.0, 0, 1, 1)}, "box: x_min is 0.0; it must be a whole number"),
        ({"paths": {"middle": ((1, 1),)}}, "unknown path 'middle'; paths are main, left, right"),
        ({"paths": {"main": ()}}, "path main has 0 points"),
        ({"paths": {"main": ((1, 1),) * 26}}, "path main has 26 points; a path has 1 to 25"),
        ({"paths": {"left": ((1, 1), (1, 2000))}}, "y of point 2 of path left is 2000"),
        ({"paths": {"left": ((1, 1, 1),)}}, "path left: point 1 has 3 numbers"),
        ({"actions": (1, 255)}, "action 2 is 255; it must lie in 0 to 254"),
        ({"actions": (True,)}, "action 1 is True; it must be a whole number"),
        ({"actions": (0,) * (MOST_ACTIONS + 1)}, "there are 1601 actions"),
    ],
)
def test_an_invalid_scaffold_cannot_be_made(parts, reason):
    with pytest.raises(ScaffoldError, match=reason):
        Scaffold("go", **parts)


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ((), "no level to write"),
        ((Level.BOX,), "the levels box are not the first 1 of subtask, box"),
        ((Level.SUBTASK, Level.TRAJECTORY), "the levels subtask, trajectory are not"),
        ((Level.BOX, Level.SUBTASK), "are not the first 2"),
        (("subtask", "song"), "unknown level 'song'; the levels are subtask, box"),
        ((*Level, Level.ACTION), "are not the first 5"),
        (Level, "no actions to write; leave out level action"),
    ],
)
def test_levels_that_cannot_be_written_are_refused(levels, reason):
    with pytest.raises(ScaffoldError, match=reason):
        GRAMMARS["nano"].write(Scaffold("go"), levels)


def test_levels_are_counted_and_named():
    assert [level.count for level in Level] == [1, 2, 3, 4]
    assert first_levels(0) == () and first_levels(4) == tuple(Level)
    assert check_levels(["subtask", "box"]) == (Level.SUBTASK, Level.BOX)
    with pytest.raises(ScaffoldError, match=r"there are 4 levels .*, not 5"):
        first_levels(5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", Level)
def test_questions_hold_the_instruction_and_start_anew(name, level):
    grammar = GRAMMARS[name]
    count = len(grammar.templates.questions.of(level))
    asked = [grammar.ask("touch the {} block.", level, wording) for wording in range(count + 1)]
    assert all("touch the {} block." in question for question in asked)
    assert asked[count] == asked[0] and len(set(asked)) == count


def test_the_nano_is_asked_by_the_instruction_alone():
    # its prompt is the same with and without reasoning
    assert {GRAMMARS["nano"].ask("go", level) for level in Level} == {"go"}


def test_only_what_was_not_confirmed_is_marked_so():
    assert GRAMMARS["nano"].templates.unverified is None
    assert "second-hand" in GRAMMARS["paper"].templates.unverified


def content(**changes):
    path = find_resource("config", "scaffold/nano.yaml")
    return yaml.safe_load(path.read_text("utf-8")) | changes


def write_file(folder, **changes):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content(**changes)), "utf-8")
    return path


def test_templates_of_ones_own_are_read(tmp_path):
    grammar = read_grammar(write_file(tmp_path, box="<{}|{}|{}|{}>", none="unseen", digits=2))
    text = grammar.write(WHOLE, first_levels(2))
    assert text.endswith("box: <412|530|498|1000>\n")
    assert grammar.name == "mine" and grammar.parse(text) == WHOLE.up_to(Level.BOX)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"box": "{} {} {}"}, r"mine.yaml:\d+: box: has 3 times \{\}; it must have 4"),
        ({"point": "{}{}"}, "point: must have a sign other than a digit after each"),
        ({"point": "{}0{}"}, "point: must have a sign other than a digit after each"),
        ({"actions": "all"}, r"actions: must have one \{\}"),
        ({"digits": 5}, "digits: is 5; places have 1 to 4"),
        ({"none": "no\nthing"}, "none: has a line break"),
        ({"none": ""}, "none: must be a word without digits"),
        ({"none": "main 480 590"}, "none: must be a word without digits"),
        ({"labels": {**content()["labels"], "box": "\n"}}, "labels: has a line break"),
        ({"paths": {"main": "a ", "left": "a b ", "right": "c "}}, "paths.main: must be a label"),
        ({"paths": {"main": "a ", "left": "", "right": "c "}}, "paths.left: must be a label"),
        ({"paths": {"main": "a ", "left": "a ", "right": "c "}}, "paths.main: must be a label"),
        (
            {"between": {"points": "", "paths": " ", "actions": ""}},
            "between: must not be empty for",
        ),
        ({"questions": {**content()["questions"], "box": []}}, "questions.box: is empty"),
        ({"questions": {**content()["questions"], "box": ["Where?"]}}, r"box\[0\]: has no \{inst"),
        ({"song": "la"}, "unknown key song"),
        # each of these alone is fine, together they cannot be read back
        ({"action": "{}"}, "cannot be read back. .*'subtask: go on"),
        ({"between": {"points": "0", "paths": " ", "actions": ""}}, "cannot be read back"),
    ],
)
def test_templates_that_cannot_work_are_refused_where_they_stand(changes, reason, tmp_path):
    path = write_file(tmp_path, **changes)
    with pytest.raises(ScaffoldError, match=reason):
        read_grammar(path)


def test_a_grammar_that_is_not_there_is_named():
    with pytest.raises(ResourceError, match=r"scaffold/klingon\.yaml"):
        load_grammar("klingon")
    assert issubclass(ScaffoldError, Dm0Error)
