# SPDX-License-Identifier: Apache-2.0
"""The page of an evaluation: one file that needs nothing, says what was found, and escapes."""

import base64
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from evaluation_bags import ROBOT, Scripted, by_hand, evaluate, write_teleoperation
from PIL import Image
from replay_recordings import record
from typer.testing import CliRunner

from dm0_ros.cli import app
from dm0_ros.evaluation.comparison import compare
from dm0_ros.evaluation.evaluate import AGAINST, CHECKPOINT, Setting, evaluate_bag
from dm0_ros.evaluation.report import write_report
from dm0_ros.evaluation.result import read_result
from dm0_ros.evaluation.summary import summarise
from dm0_ros.replay.html import Number, make_facts, make_page, make_table
from dm0_ros.replay.lateness import Lateness
from dm0_ros.replay.run import Wishes
from dm0_ros.scaffold.drawing import BOX_COLOUR

EVIL = "<script>alert('x')</script> & \"it\" <img src=//e onerror=x>"
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a page consists of; refuses one whose elements are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.ids = [], [], [], set()
        self.references, self.handlers = [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        self.references += [values[name] for name in ("src", "href", "action") if name in values]
        self.handlers += [name for name in values if name.startswith("on")]
        if "id" in values:
            assert values["id"] not in self.ids
            self.ids.add(values["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read_page(path):
    """A page that was looked through: it refers to nothing outside of itself."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    for reference in page.references:
        if reference.startswith("#"):
            assert reference[1:] in page.ids
            continue
        kind, data = reference.split(",", 1)
        assert kind.startswith("data:image/") and kind.endswith(";base64")
        inside = base64.b64decode(data)
        if "svg" in kind:
            assert b"<script" not in inside and b'href="http' not in inside
    assert page.tags.count("script") <= 1 and not page.handlers
    assert "http" not in text and "@import" not in text and "url(" not in text
    assert 'name="viewport"' in text
    return page


def write(folder, results, others=None):
    comparison = None if others is None else compare(results, others)
    return read_page(write_report(folder, summarise(results), results, comparison))


@pytest.fixture
def recorded(tiny_checkpoint, tmp_path):
    """A bag with recorded plans, and a result of it with another seed."""
    record(tmp_path / "bag", tiny_checkpoint, [EVIL, "touch it"], seconds=1.0)
    wishes = Wishes(seed=1, lateness=Lateness(0.0))
    return evaluate(tmp_path / "bag", tmp_path / "result", wishes)


def test_it_says_what_was_found_and_escapes(recorded, tmp_path):
    page = write(tmp_path, [recorded])
    table = summarise([recorded])
    share = 100 * table["overall"]["normalised_error"]["value"]
    assert (
        page.words[page.words.index("Figures")] and f"tiny plans {share:.0f} % of the" in page.text
    )
    assert "10 plans in 2 episodes of 1 bag" in page.text
    assert "10 of 10 observations are bit by bit what the live policy saw." in page.text
    assert "another seed: 0 was recorded, now it is 1" in page.text
    assert " ".join(EVIL.split()) in page.text, "as text, in a card and in the tables"
    assert page.text.count("<script>alert") >= 3
    for section in ("Worst moments", "By column", "Along the plan", "Commands, rehearsed"):
        assert section in page.text
    for name in ROBOT.column_names:
        assert name in page.text
    worst = json.loads((recorded.folder / recorded.content["moments"][0]["file"]).read_text())
    for sentence in worst["sentences"]:
        assert " ".join(sentence.split()) in page.text
    assert worst["commands"]["view"] in page.text and worst["commands"]["replay"] in page.text
    assert "moment-1" in page.ids


def test_the_same_results_give_the_same_page(recorded, tmp_path):
    pages = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        path = write_report(tmp_path / name, summarise([recorded]), [recorded], None)
        pages.append(path.read_text())
    assert pages[0] == pages[1]


def test_the_live_plans_again_are_called_that(tiny_checkpoint, tmp_path):
    record(tmp_path / "bag", tiny_checkpoint, seconds=0.7)
    path = tmp_path / "report" / "report.html"
    found = CliRunner().invoke(
        app, ["replay", str(tmp_path / "bag"), "--latency", "0", "--report", str(path.parent)]
    )
    assert found.exit_code == 0, found.output
    assert str(path) in found.output.replace("\n", "")
    page = read_page(path)
    assert "plans again what it planned live" in page.text
    assert "Every number of a plan is the recorded one." in page.text
    assert "It is the recorded plan, number for number" in page.text
    figures = json.loads((path.parent / "figures.json").read_text())
    assert figures["checkpoint"]["overall"]["plans"] > 0


class Shifted(Scripted):
    """Plans what will be commanded, ``apart`` rad off in the second joint."""

    def __init__(self, name, apart):
        super().__init__(0.0)
        self.spec = type(self.spec)(**{**vars(self.spec), "name": name})
        self.apart = apart

    def infer(self, observation, prefix=None):
        plan = super().infer(observation, prefix)
        plan.values[:, 1] += self.apart
        return plan


def evaluate_shifted(bag, folder, key, name, apart, checkpoint, **wishes):
    setting = Setting(key, by_hand(checkpoint, **wishes))
    evaluate_bag(bag, setting, folder, load=lambda *_a, **_o: Shifted(name, apart))
    return read_result(folder)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict", "word"),
    [
        (0.5, 0.1, "ours is further off than theirs:", "ours is worse"),
        (0.1, 0.5, "ours is nearer than theirs:", "ours is better"),
        (0.1, 0.1, "No sure difference between ours and theirs:", "the same"),
    ],
)
def test_a_comparison_says_who_is_better(tiny_checkpoint, tmp_path, ours, theirs, verdict, word):
    marks = [(0.5 * n, 0.5 * n + 0.4, "") for n in range(8)]
    write_teleoperation(tmp_path / "bag", seconds=4.5, marks=marks)
    results = [
        evaluate_shifted(
            tmp_path / "bag", tmp_path / key, key, name, apart, tiny_checkpoint, period=0.2
        )
        for key, name, apart in ((CHECKPOINT, "ours", ours), (AGAINST, "theirs", theirs))
    ]
    page = write(tmp_path, results[:1], results[1:])
    assert page.text.count(verdict) == 2, "in the title and on top"
    assert word in page.text and "Compared" in page.text
    if ours != theirs:
        # of the first row of figures: ours, theirs, ours minus theirs
        share = 100 * compare(results[:1], results[1:])["figures"]["normalised_error"]["first"]
        assert f"{share:.1f} % instead of" in page.text


def test_one_plan_without_recorded_ones_or_commands(tiny_checkpoint, tmp_path):
    write_teleoperation(tmp_path / "bag", seconds=0.5, commanded=False)
    wishes = by_hand(tiny_checkpoint, period=30.0)
    result = evaluate(tmp_path / "bag", tmp_path / "result", wishes)
    assert result.content["plans"] == 1
    page = write(tmp_path, [result])
    assert "1 plan in 1 episode of 1 bag" in page.text
    for section in ("Grippers", "Commands, rehearsed", "Progress", "Compared"):
        assert section.lower() not in page.ids and f" {section} " not in page.text
    assert "Nothing to be measured of:" in page.text
    assert "at a time of the replay's own" in page.text


def test_plans_of_poses_have_their_units_and_are_drawn(tiny_pose_checkpoint, tmp_path):
    write_teleoperation(tmp_path / "bag", seconds=2.0)
    result = evaluate(tmp_path / "bag", tmp_path / "result", by_hand(tiny_pose_checkpoint))
    page = write(tmp_path, [result])
    for title in ("x (m)", "roll (rad)"):
        assert title in page.text
    head = result.content["moments"][0]
    moment = json.loads((result.folder / head["file"]).read_text())
    assert any(picture["drawn"] for picture in moment["pictures"])
    assert any(sentence.startswith("It takes the tool") for sentence in moment["sentences"])


def test_nothing_that_the_robot_did_is_known(recorded, tmp_path):
    """As of a bag whose commands and joint states do not reach as far as its plans."""
    plans = recorded.read_plans()
    for name in ("action_errors", "pose_errors"):
        plans[name] = np.full_like(plans[name], np.nan)
    plans["switches"] = plans["switches"][:0]
    np.savez(recorded.folder / "plans.npz", **plans)
    content = json.loads((recorded.folder / "result.json").read_text())
    content["moments"] = []
    (recorded.folder / "result.json").write_text(json.dumps(content))
    page = write(tmp_path, [read_result(recorded.folder)])
    assert "nothing that the robot did is known" in page.text
    assert "No plan could be compared with what the robot did." in page.text


def test_progress_has_its_section(tiny_progress_checkpoint, tmp_path):
    write_teleoperation(tmp_path / "bag", marks=[(0.5, 3.5, "succeeded")])
    result = evaluate(tmp_path / "bag", tmp_path / "result", by_hand(tiny_progress_checkpoint))
    page = write(tmp_path, [result])
    assert "progress" in page.ids and "On the dashed line it is right" in page.text


def test_reasoning_has_its_section_and_is_told_and_drawn(learnt_checkpoint, tmp_path):
    bag, tasks = tmp_path / "bag", ["touch the red block"]
    record(bag, learnt_checkpoint, tasks, seconds=0.5, reasoning="every_plan")
    result = evaluate(bag, tmp_path / "result")
    page = write(tmp_path, [result])
    assert "reasoning" in page.ids and "Compared with: not known." in page.text
    assert "Its reasoning says “touch it”." in page.text
    assert "the goal that its reasoning names" in page.text
    head = result.content["moments"][0]
    moment = json.loads((result.folder / head["file"]).read_text())
    view = next(one for one in moment["pictures"] if one["slot"] == "right_hand")
    picture = np.asarray(Image.open(result.folder / view["file"])).astype(int)
    green = np.abs(picture - BOX_COLOUR).max(axis=2) < 60
    assert green.sum() > 100


def test_many_bags_are_told_apart_and_the_worst_come_first(tiny_checkpoint, tmp_path):
    results = []
    for name, apart in (("good", 0.01), ("bad", 0.9)):
        write_teleoperation(tmp_path / name, seconds=2.0)
        results.append(
            evaluate_shifted(
                tmp_path / name, tmp_path / f"{name}_out", CHECKPOINT, "x", apart, tiny_checkpoint
            )
        )
    page = write(tmp_path, results)
    bags = page.text[page.text.rindex(" Bags ") :]
    assert bags.index(str(tmp_path / "bad")) < bags.index(str(tmp_path / "good"))
    moments = page.text[page.text.rindex("Worst moments") :]
    assert "after the beginning of bad-" in moments
    assert moments.index("beginning of bad-") < moments.index("beginning of good-")


def test_tables_escape_and_numbers_can_be_sorted():
    table = make_table(["<b>", Number("n")], [["a & b", Number("1,5 %", 0.015)]], "sortable")
    assert "<th>&lt;b&gt;</th>" in table and "<td>a &amp; b</td>" in table
    assert "<td class=number data-value=0.015>1,5 %</td>" in table
    assert "&lt;i&gt;" in make_facts([("<i>", "x")])
    assert "<title>&lt;x&gt;</title>" in make_page("<x>", [])
