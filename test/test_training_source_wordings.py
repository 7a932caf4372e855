# SPDX-License-Identifier: Apache-2.0
"""Wordings: hundreds for each combination of fields, chosen by a generator alone."""

from itertools import combinations, islice

import numpy as np
import pytest

from dm0_ros.training.sources.wordings import WordingError, Wordings, load_wordings

FIELDS = {
    "instruction": "put the cup away.",
    "robot": "<robot_arx5>",
    "control": "<eef_control>",
    "progress": "40",
}
OTHERS = [
    set(some)
    for count in range(4)
    for some in combinations(sorted(set(FIELDS) - {"instruction"}), count)
]
SHIPPED = load_wordings("manipulation")


@pytest.mark.parametrize("others", OTHERS, ids=lambda others: "+".join(sorted(others)) or "none")
def test_there_are_hundreds_and_each_says_all_that_is_known(others):
    fields = {name: FIELDS[name] for name in FIELDS if name in others | {"instruction"}}
    assert SHIPPED.count(fields) >= 500
    texts = list(islice(SHIPPED.list_all(fields), 20_000))
    assert len(set(texts)) == len(texts) == min(SHIPPED.count(fields), 20_000)
    for text in texts:
        assert "put the cup away" in text and "{" not in text and "away.." not in text
        assert "  " not in text and text == text.strip()
        for name in ("robot", "control"):
            assert (FIELDS[name] in text) == (name in others)
        assert ("40" in text) == ("progress" in others)


def test_a_choice_is_the_generators_alone():
    fields = {"instruction": "go", "robot": "<robot_ur5>"}
    first = [SHIPPED.choose(fields, np.random.default_rng([1, i])) for i in range(50)]
    again = [SHIPPED.choose(fields, np.random.default_rng([1, i])) for i in range(50)]
    assert first == again and len(set(first)) > 20
    assert set(first) <= {*SHIPPED.list_all(fields), "go"}


def test_a_share_stays_plain():
    fields = {"instruction": "go there."}
    generator = np.random.default_rng(0)
    texts = [SHIPPED.choose(fields, generator) for _ in range(2000)]
    assert texts.count("go there.") / 2000 == pytest.approx(SHIPPED.plain, abs=0.04)


GOOD = """
plain: 0.5
orders: [[ask, who]]
parts: {ask: ["{instruction}."], who: ["{robot}", ""]}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.5", "1.5", "plain: is 1.5"),
        ("[[ask, who]]", "[]", "orders: is empty"),
        ("[ask, who]", "[ask, ask]", r"orders\[0\]: must name parts once each"),
        ("[ask, who]", "[ask, how]", r"orders\[0\]: must name parts"),
        ("[ask, who]", "[who]", r"orders\[0\]: has no part with {instruction}"),
        ('"{robot}", ""', '"{robot}", "you"', "parts.who: must list phrases that need the same"),
        ('"{robot}", ""', '"{robot", ""', "has a brace without its other"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, old, new, message):
    path = tmp_path / "own.yaml"
    path.write_text(GOOD)
    assert load_wordings(path).count({"instruction": "", "robot": ""}) == 2
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(WordingError, match=message):
        load_wordings(path)


def test_a_request_needs_an_instruction():
    wordings = Wordings({"ask": ("{instruction}",)}, (("ask",),), 1.0)
    with pytest.raises(WordingError, match="needs an instruction"):
        wordings.choose({"robot": "x"}, np.random.default_rng(0))
