# SPDX-License-Identifier: Apache-2.0
"""What the platform can be asked, with every answer checked before it is believed."""

import io
import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn
from urllib.parse import quote

import numpy as np
from PIL import Image

from dm0_ros.challenge.connection import Connection
from dm0_ros.challenge.errors import PayloadError
from dm0_ros.challenge.payload import read_payload
from dm0_ros.challenge.table import PlatformData

_LONGEST_ROW = 64  # columns
_LONGEST_NAME = 128  # characters of an id


class Status(str, Enum):
    """How far the platform says a job is."""

    ASSIGNED = "assigned"
    PREPARE = "prepare"
    READY = "ready"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing comes after it."""
        return self in (Status.FINISHED, Status.CANCELLED, Status.FAILED)


class Condition(str, Enum):
    """What the platform says of a robot."""

    NORMAL = "normal"
    FAULT = "fault"
    ABNORMAL = "abnormal"
    SIZE_NONE = "size_none"  # a size or an action type was missing in the question


@dataclass(frozen=True)
class Job:
    """One run of one task on one robot."""

    name: str
    status: Status
    robot: str  # the platform's name of it


@dataclass(frozen=True)
class Collection:
    """Jobs that belong together, all of one task."""

    jobs: tuple[Job, ...]
    task: str  # as the platform calls it; empty where it does not say


@dataclass(frozen=True)
class View:
    """What is asked of a robot's state, the same for the whole of a job."""

    slots: tuple[str, ...]
    picture: tuple[int, int]  # width and height
    action_type: str


@dataclass(frozen=True)
class RobotState:
    """One look at a robot."""

    condition: Condition
    stamp: float  # s of the platform's clock
    pending: int  # rows that it has yet to execute
    values: tuple[float, ...]  # of the action type that was asked for
    pictures: dict[str, np.ndarray]  # (height, width, 3) uint8 RGB by slot


@dataclass(frozen=True)
class Reply:
    """What the platform said to a chunk."""

    accepted: bool
    message: str


class Platform:
    """The endpoints. All raise `Unreachable`, `Rejected` and `PayloadError`."""

    def __init__(self, connection: Connection, data: PlatformData) -> None:
        self._connection = connection
        self._data = data

    def read_collection(self, name: str) -> Collection:
        """The jobs of a collection. Newer platforms say the task, too."""
        answer = self._get_json(f"/job_collections/{quote(name, safe='')}")
        items = _field(answer, "jobs", list)
        jobs = tuple(_read_job(item, _field(item, "job_id", (str, int))) for item in items)
        task = answer.get("task_name")
        return Collection(jobs, task[:_LONGEST_NAME] if isinstance(task, str) else "")

    def read_job(self, name: str) -> Job:
        """How far a job is now."""
        return _read_job(self._get_json(f"/jobs/{quote(name, safe='')}"), name)

    def start_job(self, name: str) -> None:
        """Ask for the start. One attempt: whoever calls looks at the job before another."""
        body = json.dumps({"job_id": name, "action": "start"}).encode()
        self._connection.ask("POST", "/jobs/update", (), body)

    def read_clock(self, robot: str) -> float:
        """Seconds of the platform's clock; one attempt, for it is timed."""
        path = self._path(robot, "clock-sync")
        return _number(_parse_json(self._connection.ask("GET", path)), "timestamp")

    def read_state(self, robot: str, view: View) -> RobotState:
        """Look at a robot. A condition that is not normal comes without pictures."""
        width, height = view.picture
        parameters = [("width", str(width)), ("height", str(height))]
        parameters += [("image_type", slot) for slot in view.slots]
        parameters += [("action_type", view.action_type)]
        path = self._path(robot, "state.pkl")
        return _read_state(read_payload(self._connection.get(path, parameters)), view)

    def send_rows(
        self, robot: str, view: View, rows: Sequence[Sequence[float]], duration: float
    ) -> Reply:
        """Give a robot rows to execute, ``duration`` s each.

        One attempt, and never the same rows again: an answer that was lost does not mean that the
        rows were.
        """
        parameters = [
            ("hash", f"gpu-server-{uuid.uuid4()}"),
            ("action_type", view.action_type),
        ]
        body = json.dumps({"actions": rows, "duration": duration}, allow_nan=False).encode()
        path = self._path(robot, "action")
        answer = _parse_json(self._connection.ask("POST", path, parameters, body))
        result = _field(answer, "result", str)
        if result not in ("success", "error"):
            raise PayloadError(f"the answer to a chunk is '{result[:50]}', not success or error")
        return Reply(result == "success", str(answer.get("message", ""))[:200])

    def _path(self, robot: str, call: str) -> str:
        return f"{self._data.robot_path.format(robot=quote(robot, safe=''))}/{call}"

    def _get_json(self, path: str) -> Any:
        return _parse_json(self._connection.get(path))


def _parse_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as cause:
        raise PayloadError(f"the answer is no JSON: {cause}") from cause


def _field(item: Any, key: str, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(item, dict) or not isinstance(item.get(key), kind):
        found = type(item.get(key)).__name__ if isinstance(item, dict) else type(item).__name__
        _refuse(f"the answer has no usable '{key}': found {found}")
    return item[key]


def _number(item: Any, key: str) -> float:
    value = _field(item, key, (int, float))
    if isinstance(value, bool) or not math.isfinite(value):
        _refuse(f"'{key}' of the answer is {value!r}, no finite number")
    return float(value)


def _choose(kind: type[Enum], item: Any, key: str) -> Any:
    value = _field(item, key, str)
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        _refuse(f"'{key}' of the answer is '{value[:50]}'; known are {known}")


def _read_job(item: Any, name: str | int) -> Job:
    robot = _field(_field(item, "device", dict), "robot_id", (str, int))
    names = str(name), str(robot)
    if not all(0 < len(text) <= _LONGEST_NAME for text in names):
        _refuse("the answer has an empty or endless id")
    return Job(names[0], _choose(Status, item, "status"), names[1])


def _read_state(item: Any, view: View) -> RobotState:
    condition = _choose(Condition, item, "state")
    if condition is not Condition.NORMAL:
        return RobotState(condition, math.nan, 0, (), {})
    values = item.get("action")
    values = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(values, (list, tuple)) or len(values) > _LONGEST_ROW:
        _refuse("'action' of the state is no row of numbers")
    if not all(type(value) in (int, float) for value in values):
        _refuse("'action' of the state holds other things than numbers")
    pending = _field(item, "pending_actions", int)
    if pending < 0:
        _refuse(f"'pending_actions' of the state is {pending}")
    images = _field(item, "images", dict)
    pictures = {slot: _read_picture(images.get(slot), slot, view.picture) for slot in view.slots}
    return RobotState(condition, _number(item, "timestamp"), pending, tuple(values), pictures)


def _read_picture(data: Any, slot: str, size: tuple[int, int]) -> np.ndarray:
    """A PNG as (height, width, 3) uint8 RGB. Its size is looked at before it is unpacked."""
    data = data.tobytes() if isinstance(data, np.ndarray) else data
    if not isinstance(data, bytes):
        _refuse(f"picture '{slot}' of the state is missing or no bytes")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != size:
                _refuse(f"picture '{slot}' has {image.size} pixels, {size} were asked for")
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as cause:
        raise PayloadError(f"picture '{slot}' is no PNG that can be read: {cause}") from cause


def _refuse(message: str) -> NoReturn:
    raise PayloadError(message)
