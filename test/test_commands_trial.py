# SPDX-License-Identifier: Apache-2.0
"""A trial judges by the first touch within the time limit, and says what went wrong."""

from dataclasses import dataclass, field

import pytest

from dm0_ros.commands.trial import perform
from dm0_ros.errors import Dm0Error
from dm0_ros.sim.tasks import Task
from dm0_ros.sim.world import TaskKind


@dataclass
class Attempt:
    touched: tuple = ()
    touch_time: float | None = None
    started: float = 100.0
    ended: float = 120.0
    plans: int = 4
    outcome: str = "time_limit"
    message: str = ""


@dataclass
class Client:
    attempts: list
    calls: list = field(default_factory=list)

    def now(self):
        return 99.0 + len(self.calls)

    def reset(self):
        self.calls.append("reset")

    def attempt(self, instruction, time_limit):
        self.calls.append((instruction, time_limit))
        attempt = self.attempts.pop(0)
        if isinstance(attempt, Exception):
            raise attempt
        return attempt


def run(*attempts, keep_going=False):
    tasks = [Task("red", f"touch red {k}") for k in range(len(attempts))]
    client = Client(list(attempts))
    told = []
    episodes = perform(client, tasks, 20.0, keep_going, lambda k, task: told.append(k))
    return list(episodes), client, told


@pytest.mark.parametrize(
    "attempt, outcome, first, seconds",
    [
        (Attempt(("red", "blue"), 104.0, outcome="cancelled"), "touched", "red", 4.0),
        (Attempt(("blue", "red"), 103.0, outcome="cancelled"), "wrong_object", "blue", 3.0),
        (Attempt(), "time_limit", None, 20.0),
        (Attempt(("red",), 120.5, ended=120.6), "time_limit", None, 20.6),
        (Attempt(ended=106.0, outcome="succeeded"), "no_touch", None, 6.0),
        (Attempt(ended=101.0, outcome="fault", message="stop"), "fault", None, 1.0),
    ],
)
def test_episode_is_judged_by_the_first_touch_in_time(attempt, outcome, first, seconds):
    (episode,), _, _ = run(attempt)
    assert (episode.outcome, episode.first_touched) == (outcome, first)
    assert episode.seconds == pytest.approx(seconds)
    assert episode.success == (outcome == "touched")
    assert (episode.message, episode.plans) == (attempt.message, 4)


def test_what_was_put_into_the_bin_is_called_placed():
    client = Client([Attempt(("red",), 109.0, outcome="cancelled")])
    task = Task("red", "put the red block into the bin", TaskKind.PLACE)
    (episode,) = perform(client, [task], 20.0, False, lambda number, task: None)
    assert (episode.outcome, episode.success, episode.seconds) == ("placed", True, 9.0)


def test_each_task_begins_with_a_reset():
    _, client, told = run(Attempt(), Attempt())
    assert client.calls == ["reset", ("touch red 0", 20.0), "reset", ("touch red 1", 20.0)]
    assert told == [0, 1]


def test_trouble_ends_the_trial_unless_told_to_go_on():
    with pytest.raises(Dm0Error, match="no answer"):
        run(Dm0Error("no answer"), Attempt())
    episodes, _, _ = run(Dm0Error("no answer"), Attempt(), keep_going=True)
    assert [episode.outcome for episode in episodes] == ["error", "time_limit"]
    assert episodes[0].message == "no answer"
