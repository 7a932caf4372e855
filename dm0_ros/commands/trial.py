# SPDX-License-Identifier: Apache-2.0
"""A trial: instructions one after another, each judged by the object to which the robot first did
what was asked: touched it, or put it into the bin.

Works on anything with the methods of `dm0_ros.nodes.operator.Operator`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.episodes import Episode
from dm0_ros.sim.tasks import Task
from dm0_ros.sim.world import TaskKind

_DONE = {TaskKind.TOUCH: "touched", TaskKind.PLACE: "placed"}


class Client(Protocol):
    """Gives instructions to a graph."""

    def reset(self) -> None: ...

    def attempt(self, instruction: str, time_limit: float): ...

    def now(self) -> float: ...


def perform(
    client: Client,
    tasks: Sequence[Task],
    time_limit: float,
    keep_going: bool,
    announce: Callable[[int, Task], None],
) -> Iterator[Episode]:
    """Do the tasks in turn; each episode comes as it ends.

    A graph that does not do what it is asked ends the trial with a `Dm0Error`; with ``keep_going``
    it costs only that episode.
    """
    for number, task in enumerate(tasks):
        announce(number, task)
        started = client.now()
        try:
            client.reset()
            started = client.now()
            attempt = client.attempt(task.instruction, time_limit)
        except Dm0Error as error:
            if not keep_going:
                raise
            yield _fail(task, started, client.now(), str(error))
        else:
            yield judge(task, attempt, time_limit)


def judge(task: Task, attempt, time_limit: float) -> Episode:
    """The episode that an `Attempt` was; what comes after ``time_limit`` s does not count."""
    first, touched = None, None
    if attempt.touch_time is not None and attempt.touch_time - attempt.started <= time_limit:
        first, touched = attempt.touched[0], attempt.touch_time
    if first is None:
        outcome = "no_touch" if attempt.outcome == "succeeded" else attempt.outcome
    else:
        outcome = _DONE[task.kind] if first == task.object else "wrong_object"
    ended = touched or attempt.ended
    return Episode(
        instruction=task.instruction,
        object=task.object,
        outcome=outcome,
        first_touched=first,
        seconds=ended - attempt.started,
        plans=attempt.plans,
        started=attempt.started,
        ended=ended,
        touched=touched,
        message=attempt.message,
    )


def _fail(task: Task, started: float, ended: float, message: str) -> Episode:
    return Episode(
        instruction=task.instruction,
        object=task.object,
        outcome="error",
        first_touched=None,
        seconds=ended - started,
        plans=0,
        started=started,
        ended=ended,
        touched=None,
        message=message,
    )
