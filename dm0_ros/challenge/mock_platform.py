# SPDX-License-Identifier: Apache-2.0
"""What RoboChallenge's platform knows and does, made up, without HTTP; see `mock_server`."""

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dm0_ros.challenge.faults import FaultKind
from dm0_ros.challenge.mock_robot import MockRobot, Refusal, draw_picture
from dm0_ros.challenge.platform import Status
from dm0_ros.challenge.table import ChallengeTask

_STALE = 60.0  # s


@dataclass
class MockJob:
    """One job as the platform keeps it."""

    name: str
    robot: str
    chunks: int  # after which it is finished; 0: never
    status: Status = Status.ASSIGNED

    def describe(self) -> dict:
        """What is said of it."""
        device = {"robot_id": self.robot}
        return {"job_id": self.name, "status": self.status.value, "device": device}


@dataclass
class MockCollection:
    """Jobs of one task on one robot, one after the other."""

    name: str
    task: ChallengeTask
    jobs: list[MockJob]
    robot: MockRobot = field(repr=False)


class NotFound(Exception):
    """Asked for what is not there. Becomes status 404."""


class MockPlatform:
    """What the platform knows and does, without HTTP. Callers take turns with ``lock``."""

    def __init__(self, now: Callable[[], float]) -> None:
        """``now``: s of its clock, which its robots live by too."""
        self.lock = threading.Lock()
        self.now = now
        self.sent: list[list[list[float]]] = []  # chunks that were taken
        self.trap = Path(tempfile.gettempdir()) / "dm0_rehearsal_trap"
        self._collections: dict[str, MockCollection] = {}

    def add(self, name: str, task: ChallengeTask, jobs: int = 1, chunks: int = 3) -> None:
        """A collection of ``jobs``, each of which is finished after ``chunks`` chunks."""
        robot = f"{task.robot}-{name}"
        items = [MockJob(f"{name}-{index}", robot, chunks) for index in range(jobs)]
        items[0].status = Status.READY
        made = MockCollection(name, task, items, MockRobot(task, self.now))
        self._collections[name] = made

    def list_jobs(self, name: str) -> dict:
        """The jobs of a collection."""
        if name not in self._collections:
            raise NotFound(f"no collection {name}")
        collection = self._collections[name]
        self._settle(collection)
        jobs = [job.describe() for job in collection.jobs]
        return {"jobs": jobs, "task_name": collection.task.name}

    def read_job(self, name: str) -> dict:
        """One job. It is prepared when it is first looked at after its start, then it runs."""
        collection, job = self._find_job(name)
        self._settle(collection)
        said = job.describe()
        if job.status is Status.PREPARE:
            job.status = Status.RUNNING
        return said

    def update_job(self, name: str, action: str) -> dict:
        """Start a job that is ready."""
        collection, job = self._find_job(name)
        if action != "start" or job.status is not Status.READY:
            raise Refusal(f"{name} is {job.status.value}: cannot {action}")
        collection.robot.rest()
        job.status = Status.PREPARE
        return {"result": "success"}

    def end_job(self, name: str, status: Status) -> None:
        """End a job as an operator would."""
        self._find_job(name)[1].status = status

    def look(self, robot: str, query: dict[str, list[str]], fault: FaultKind | None) -> dict:
        """A robot's state."""
        wanted = {key: query.get(key, [""]) for key in ("width", "height", "action_type")}
        if not all(values[0] for values in wanted.values()):
            return {"state": "size_none"}
        if fault is FaultKind.ABNORMAL:
            return {"state": "abnormal"}
        size = int(wanted["width"][0]), int(wanted["height"][0])
        row, pending = self._find_robot(robot).look(wanted["action_type"][0])
        drawn = (size[0] // 2, size[1] // 2) if fault is FaultKind.SMALL else size
        slots = query.get("image_type", [])
        return {
            "state": "normal",
            "timestamp": self.now() - (_STALE if fault is FaultKind.STALE else 0),
            "pending_actions": pending,
            "action": row,
            "images": {slot: draw_picture(slot, drawn, row) for slot in slots},
        }

    def act(self, robot: str, action_type: str, body: dict) -> dict:
        """Rows for a robot whose job runs."""
        found = self._find_robot(robot)
        try:
            if not self._runs(robot):
                raise Refusal("no job is running on this robot")
            found.take(action_type, body.get("actions"), body.get("duration"))
        except Refusal as refusal:
            return {"result": "error", "message": str(refusal)}
        self.sent.append(body["actions"])
        return {"result": "success"}

    def move(self, robot: str) -> dict:
        """Both ends of a motion clear the queue."""
        self._find_robot(robot).clear()
        return {"result": "success"}

    def lose_queues(self) -> None:
        """As if the server had died: jobs stay as they are, queues are empty."""
        for collection in self._collections.values():
            collection.robot.clear()

    def _settle(self, collection: MockCollection) -> None:
        """A job that has had its chunks is finished; then the next one is ready."""
        robot = collection.robot
        for job in collection.jobs:
            if job.status is Status.RUNNING:
                _, pending = robot.look(robot.action_type) if robot.action_type else ([], 0)
                if job.chunks and robot.executed >= job.chunks and not pending:
                    job.status = Status.FINISHED
        left = [job for job in collection.jobs if not job.status.is_over]
        if left and left[0].status is Status.ASSIGNED:
            left[0].status = Status.READY

    def _find_job(self, name: str) -> tuple[MockCollection, MockJob]:
        for collection in self._collections.values():
            for job in collection.jobs:
                if job.name == name:
                    return collection, job
        raise NotFound(f"no job {name}")

    def _find_robot(self, name: str) -> MockRobot:
        for collection in self._collections.values():
            if collection.jobs[0].robot == name:
                return collection.robot
        raise NotFound(f"no robot {name}")

    def _runs(self, robot: str) -> bool:
        jobs = [job for item in self._collections.values() for job in item.jobs]
        return any(job.robot == robot and job.status is Status.RUNNING for job in jobs)
