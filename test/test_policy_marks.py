# SPDX-License-Identifier: Apache-2.0
"""Marks of episodes: written, read, and joined to episodes."""

from dataclasses import replace

import pytest

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.marks import Mark
from dm0_ros.replay.marks import join_marks

FIRST = Mark("a1", "execute_instruction", "touch the grün block", 12.000000001)
ENDED = replace(FIRST, end=13.5, outcome="time_limit", message="gave up after 1.5 s")
SECOND = Mark("b2", "execute_instruction", "touch the red block", 14.0)


def test_a_mark_comes_back():
    for mark in (FIRST, ENDED):
        assert Mark.parse(mark.dump()) == mark


@pytest.mark.parametrize("text", ["", "tonight", "[]", "{}", "3", '{"episode": "a1"}'])
def test_what_is_no_mark_is_refused(text):
    with pytest.raises(Dm0Error, match="episode: not a mark of an episode"):
        Mark.parse(text)


def test_the_end_takes_the_place_of_the_beginning():
    assert join_marks([FIRST, ENDED, SECOND]) == [ENDED, SECOND]


def test_what_ended_before_the_bag_began_is_not_in_it():
    assert join_marks([ENDED, SECOND]) == [SECOND]
    assert join_marks([]) == []
