# SPDX-License-Identifier: Apache-2.0
"""docs/scaffold.md shows texts that are scaffolds, reasons that are given, and code that runs."""

import re
from pathlib import Path

import pytest
from scaffold_samples import GRAMMARS

from dm0_ros.scaffold.content import Rejection, Scaffold

PAGE = (Path(__file__).parent.parent / "docs" / "scaffold.md").read_text("utf-8")
TEXTS = re.findall(r"^```(nano|paper)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FIRST = TEXTS[0][1]
ROW = r"^\| `([^`]+)` \| (?:`([^`]+)` )?\| (.*) \|$"
REFUSED = re.findall(ROW, PAGE.split("## What is refused")[1], re.MULTILINE)


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_texts_are_scaffolds(name, text):
    found = GRAMMARS[name].parse(text)
    assert isinstance(found, Scaffold), found
    assert GRAMMARS[name].write(found, GRAMMARS[name].complete_levels(text)) == text


def test_both_grammars_say_the_same():
    by_name = {name: GRAMMARS[name].parse(text) for name, text in (TEXTS[0], TEXTS[-1])}
    assert len(by_name) == 2 and by_name["nano"] == by_name["paper"]


@pytest.mark.parametrize(("old", "new", "reason"), [r for r in REFUSED if r[0] in FIRST])
def test_reasons_are_those_that_are_given(old, new, reason):
    assert GRAMMARS["nano"].parse(FIRST.replace(old, new, 1)) == Rejection(reason)


def test_the_table_of_reasons_was_found():
    assert len([row for row in REFUSED if row[0] in FIRST]) == 10


def test_code_runs():
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/scaffold.md", "exec"), {})
