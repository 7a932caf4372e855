# SPDX-License-Identifier: Apache-2.0
"""Texts that come late are not taken for what the robot does now."""

from dm0_ros.scaffold.relevance import Relevance


def test_all_is_shown_before_anything_is_known():
    assert Relevance().covers(-1e9)


def test_a_reset_ends_what_was_said_of_earlier_pictures():
    relevance = Relevance()
    relevance.reset(10.0)
    assert not relevance.covers(9.9) and not relevance.covers(10.0) and relevance.covers(10.1)
    relevance.reset(2.0)
    assert relevance.covers(2.1), "a clock that was set back"


def test_another_instruction_ends_what_was_said_for_the_one_before():
    relevance = Relevance()
    for moment in (1.0, 2.0):
        relevance.follow("touch the red block", moment)
    assert relevance.covers(0.5), "one instruction, however many plans"
    relevance.follow("touch the blue block", 5.0)
    assert not relevance.covers(2.0), "of the last picture that the first one's plans were about"
    # Before every plan: the text about a picture comes before the plan about it
    assert relevance.covers(5.0)
    relevance.follow("touch the blue block", 6.0)
    assert relevance.covers(5.0)


def test_another_instruction_takes_no_reset_back():
    relevance = Relevance()
    relevance.follow("touch the red block", 1.0)
    relevance.reset(3.0)
    relevance.follow("touch the blue block", 5.0)
    assert not relevance.covers(2.0) and relevance.covers(4.0)
