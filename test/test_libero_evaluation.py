# SPDX-License-Identifier: Apache-2.0
"""`dm0 eval libero`: episodes, records that go on, several processes, tables and refusals."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from checkpoint_samples import write_runnable
from typer.testing import CliRunner

from dm0_ros.cli import app
from dm0_ros.errors import CheckpointError, PlanError
from dm0_ros.libero.agents import PolicyAgent, RandomAgent
from dm0_ros.libero.contract import REST, Moment, observe
from dm0_ros.libero.errors import LiberoError
from dm0_ros.libero.evaluation import Conditions, list_keys, run_all, run_episode
from dm0_ros.libero.records import Records, Result, Run
from dm0_ros.libero.suites import Suite, load_libero_robot
from dm0_ros.libero.summary import summarise
from dm0_ros.policy.catalogue import find_entry
from dm0_ros.policy.protocol import PolicySpec
from dm0_ros.policy.registry import load_policy
from dm0_ros.policy.settings import dump_settings
from dm0_ros.robots.spec import Space

RUN = Run("offline", 7)
WIDE = {"COLUMNS": "200"}


def dm0(*arguments):
    return CliRunner().invoke(app, ["eval", "libero", *map(str, arguments)], env=WIDE)


class Counter:
    """An environment that is done after so many actions with the last input closed."""

    instructions = ("count",)

    def __init__(self, goal: int) -> None:
        self.goal = goal

    def reset(self, _task, _episode):
        self.count, self.actions = 0, []
        return self._look()

    def step(self, action):
        self.actions.append(action)
        self.count += action[6] > 0
        return self._look(), bool(self.count >= self.goal)

    def _look(self):
        picture = np.zeros((256, 256, 3), np.uint8)
        hand = np.zeros(3), np.array([1.0, 0, 0, 0]), np.zeros(2)
        return Moment(picture, picture, *hand)


class Planner:
    """An agent that closes, ``rows`` actions at a time."""

    def __init__(self, rows: int, fails_at: float = np.inf) -> None:
        self.rows, self.fails_at, self.stamps = rows, fails_at, []

    def begin(self, _environment, _task, _episode):
        self.stamps.clear()

    def act(self, observation):
        if observation.stamp >= self.fails_at:
            raise PlanError("not finite")
        self.stamps.append(observation.stamp)
        return np.ones((self.rows, 7))


def test_waiting_does_not_count_and_success_ends_an_episode():
    environment, planner = Counter(30), Planner(12)
    result = run_episode(environment, planner, Suite(1, 220), ("p", 0, 4), waiting_steps=10)
    assert result == Result("p", 0, 4, True, 30)
    assert planner.stamps == pytest.approx([0.0, 0.6, 1.2])
    assert np.array_equal(environment.actions[:10], [REST] * 10) and len(environment.actions) == 40


def test_steps_are_limited_and_a_bad_plan_fails():
    environment = Counter(100)
    result = run_episode(environment, Planner(12), Suite(1, 50), ("p", 0, 0), 10)
    assert result == Result("p", 0, 0, False, 50) and len(environment.actions) == 60
    result = run_episode(environment, Planner(12, fails_at=0.6), Suite(1, 50), ("p", 0, 0), 10)
    assert result == Result("p", 0, 0, False, 12, "not finite")


def test_random_actions_are_the_episodes_own():
    agent = RandomAgent(7)

    def draw(task, episode):
        agent.begin(None, task, episode)
        return np.concatenate([agent.act(None) for _ in range(20)])

    assert np.array_equal(draw(1, 2), draw(1, 2)) and np.abs(draw(1, 2)).max() <= 1
    assert not np.array_equal(draw(1, 2), draw(2, 1))


def test_records_go_on_after_a_crash(tmp_path):
    path = tmp_path / "deep" / "records.jsonl"
    results = [Result("random", 0, e, e == 1, 220) for e in range(3)]
    records = Records(path, RUN)
    for result in results:
        records.add(result)
    keys = list_keys(["random"], [0], 4)
    assert Records(path, RUN).missing(keys) == keys[3:]
    path.write_bytes(path.read_bytes()[:-9])  # the last line was being written
    again = Records(path, RUN)
    assert again.results == results[:2] and again.missing(keys) == keys[2:]
    again.add(results[2])
    assert Records(path, RUN).results == results
    for cut in (0, 5):  # not even the first line was written
        path.write_bytes(path.read_bytes()[:cut])
        assert Records(path, RUN).results == []
        assert json.loads(path.read_text()) == asdict(RUN)


@pytest.mark.parametrize("other", [replace(RUN, seed=8), replace(RUN, suite="libero_goal")])
def test_records_of_another_run_are_refused(tmp_path, other):
    path = tmp_path / "records.jsonl"
    Records(path, RUN)
    with pytest.raises(LiberoError, match="is of another run"):
        Records(path, other)
    path.write_text(json.dumps(asdict(RUN)) + '\n{"policy": 1}\n')
    with pytest.raises(LiberoError, match=r"records.jsonl:2: is no record"):
        Records(path, RUN)


def test_rates_have_intervals():
    results = [Result("p", task, e, e < 8 - 8 * task, 100) for task in (0, 1) for e in range(10)]
    figures = summarise(results, ["first", "second"])
    assert (figures["episodes"], figures["successes"], figures["success"]) == (20, 8, 0.4)
    assert figures["tasks"]["0"]["success_95"] == pytest.approx([0.4902, 0.9433], abs=1e-4)
    assert figures["tasks"]["1"] | {"success_95": 0} == {
        "instruction": "second", "episodes": 10, "successes": 0, "success": 0.0,
        "success_95": 0, "steps": None,
    }  # fmt: skip


def test_two_processes_give_what_one_gives():
    keys = list_keys(["expert"], [7, 8], 1)
    conditions = Conditions("offline", 7)
    alone = list(run_all(conditions, keys))
    together = list(run_all(conditions, keys, processes=2))
    assert sorted(together, key=lambda r: r.key) == alone
    assert [result.success for result in alone] == [True, True]


def write_libero(folder):
    """A random network of the shape of DM0's LIBERO checkpoint, with its settings."""
    write_runnable(folder)
    settings = replace(find_entry("libero").settings, name="tiny", max_text_tokens=200)
    (folder / "policy.yaml").write_text(dump_settings(settings))
    return folder


def test_a_checkpoint_goes_all_the_way(tmp_path):
    folder, path = write_libero(tmp_path / "tiny"), tmp_path / "figures.json"
    records = tmp_path / "records.jsonl"
    arguments = ("--suite", "offline", "--episodes", 1, "--tasks", 7, "--checkpoint", folder)
    result = dm0(*arguments, "--records", records, "--json", path)
    assert result.exit_code == 0, result.output
    figures = json.loads(path.read_text())
    assert figures["published"] is None and figures["checkpoint"] == str(folder)
    assert figures["policies"]["checkpoint"]["tasks"]["7"]["episodes"] == 1
    assert figures["policies"]["checkpoint"]["errors"] == []
    written = records.read_text()
    assert dm0(*arguments, "--records", records).exit_code == 0  # nothing is left to do
    assert records.read_text() == written
    (folder / "policy.yaml").write_text((folder / "policy.yaml").read_text() + "# changed\n")
    assert "is of another run" in str(dm0(*arguments, "--records", records).exception)


def test_a_plan_is_followed_as_its_authors_did(tmp_path):
    policy = load_policy(write_libero(tmp_path), load_libero_robot())
    agent = PolicyAgent(policy)
    agent.begin(None, 0, 0)
    seen = observe(Counter(1).reset(0, 0), "touch the red block", 0.0)
    actions = agent.act(seen)
    assert actions.shape == (12, 7)
    agent.begin(None, 0, 1)
    assert np.array_equal(agent.act(seen), actions)  # each episode has the same noise


def test_a_policy_for_something_else_is_refused():
    spec = PolicySpec("other", (), ("x",), ("x",), Space.JOINT_POSITION, 50, 0.1)
    with pytest.raises(CheckpointError, match=r"other plans joint_position \(x\), not LIBERO's"):
        PolicyAgent(SimpleNamespace(spec=spec))


def test_the_table_has_published_scores_and_says_what_does_not_compare(tmp_path):
    path = tmp_path / "figures.json"
    arguments = ("--suite", "offline", "--episodes", 1, "--tasks", "9", "--policies", "expert")
    result = dm0(*arguments, "--json", path)
    assert result.exit_code == 0, result.output
    rows = {}
    for line in result.output.splitlines():
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        rows[cells[0]] = cells[1:]
    assert rows["libero_10"] == ["82.6", ""] and rows["libero_spatial"] == ["98.2", ""]
    assert rows["offline"] == ["none", "100.0 (21-100)"]
    assert "No score in it has been published" in result.output
    expert = json.loads(path.read_text())["policies"]["expert"]
    assert expert["success"] == 1.0 and expert["steps"] < 60


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--suite", "libero_spatial"], "LIBERO is not installed"),
        (["--suite", "libero"], "there is no suite 'libero'; there are libero_spatial,"),
        (["--suite", "offline", "--episodes", 51], "there are 50 initial states"),
        (["--suite", "offline", "--tasks", "3,10"], "--tasks: 10: write numbers from 0 to 9"),
        (["--suite", "offline", "--policies", "pi0"], "--policies: pi0: choose among expert"),
        (["--suite", "offline", "--policies", "checkpoint"], "go together"),
        (["--suite", "offline", "--checkpoint", "nano-franka"], "trained for franka"),
    ],
)
def test_what_cannot_be_run_is_named(arguments, reason, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    result = dm0(*arguments)
    assert result.exit_code != 0 and reason in str(result.exception)
