# SPDX-License-Identifier: Apache-2.0
"""What a plan was made of, and by what: enough to make it again from a recording.

As JSON, because a recording outlives the program that wrote it. Numbers come back bit by bit.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.protocol import Observation, Plan, Prefix
from dm0_ros.robots.spec import RobotSpec

TRACE_TOPIC = "policy_trace"
FACTS_TOPIC = "policy_facts"
_BLOCK = 1 << 20  # bytes that are hashed at once
_NEWEST = 1  # version of both formats


class Sight(NamedTuple):
    """A plan that was published, and what it was made of."""

    sequence: int
    index: int  # of the plan in its task, from 0
    observation: Observation
    prefix: Prefix | None
    plan: Plan


def ignore(_sight: Sight) -> None:
    """The witness of those who leave no trace."""


@dataclass(frozen=True)
class Trace:
    """Which messages a plan was made of, and what else its numbers depend on."""

    sequence: int
    index: int  # of the plan in its task, from 0: so many plans since the policy's reset
    stamps: Mapping[str, float]  # s, by camera slot: of its picture
    joint_stamps: Mapping[str, float]  # s, by joint: of its measurement
    digest: int  # see `digest`
    prefix: Prefix | None
    text: tuple[int, ...] | None  # tokens that the actions saw; None: none

    @classmethod
    def of(cls, sight: Sight) -> Trace:
        """What is to be kept of a plan."""
        observation, thought = sight.observation, sight.plan.thought
        seen = thought is not None and thought.valid
        return cls(
            sight.sequence,
            sight.index,
            observation.stamps,
            observation.joint_stamps,
            digest(observation),
            sight.prefix,
            tuple(int(token) for token in thought.token_ids) if seen else None,
        )

    def dump(self) -> str:
        """As JSON."""
        content = {"version": _NEWEST, **vars(self)}
        if self.prefix is not None:
            content["prefix"] = {**vars(self.prefix), "rows": self.prefix.rows.tolist()}
        return json.dumps(content, default=dict)

    @classmethod
    def parse(cls, text: str) -> Trace:
        """What `dump` wrote; raises `Dm0Error` where it did not."""
        content = _parse(text, cls, TRACE_TOPIC)
        if (prefix := content["prefix"]) is not None:
            content["prefix"] = Prefix(**{**prefix, "rows": np.array(prefix["rows"])})
        if content["text"] is not None:
            content["text"] = tuple(content["text"])
        return cls(**content)


@dataclass(frozen=True)
class Facts:
    """By what plans are made, for as long as a policy is loaded."""

    robot: str  # as it was given: a name, or the path of a YAML
    robot_digest: str  # see `digest_robot`
    simulated: bool
    checkpoint: str  # as it was given
    checkpoint_digest: str  # see `digest_checkpoint`
    policy: str  # the checkpoint's own name
    seed: int
    device: str
    dtype: str  # empty: what the checkpoint says
    guidance: str
    compiled: bool
    fp8: bool
    threads: int
    reasoning: str
    reasoning_level: str
    temperature: float
    compressed: bool  # whether it looked at JPEG pictures
    version: str  # of this package
    commit: str  # of its git repository; empty where it was installed

    def dump(self) -> str:
        """As JSON."""
        return json.dumps({"version_of_facts": _NEWEST, **asdict(self)})

    @classmethod
    def parse(cls, text: str) -> Facts:
        """What `dump` wrote; raises `Dm0Error` where it did not."""
        return cls(**_parse(text, cls, FACTS_TOPIC))


def _parse(text: str, kind: type, topic: str) -> dict:
    """The fields of ``kind``; others are of a later version and do not matter."""
    names = {field.name for field in fields(kind)}
    try:
        content = json.loads(text)
        missing = names - set(content)
    except (ValueError, TypeError) as error:
        raise Dm0Error(f"{topic}: not what the policy node writes: {error}") from error
    if missing:
        raise Dm0Error(f"{topic}: lacks {', '.join(sorted(missing))}; another version wrote it")
    return {name: content[name] for name in names}


def digest(observation: Observation) -> int:
    """CRC-32 of all that a network gets to see: pictures, state, instruction."""
    value = zlib.crc32(observation.instruction.encode())
    value = zlib.crc32(np.ascontiguousarray(observation.state, np.float64), value)
    for slot, picture in observation.pictures.items():
        value = zlib.crc32(f"{slot} {picture.shape}".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(picture), value)
    return value


def digest_checkpoint(folder: Path) -> str:
    """SHA-256 over names and contents of a checkpoint's weights, settings and statistics."""
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in (".json", ".yaml", ".safetensors") and path.is_file()
    ]
    stats = [path.stat() for path in paths]
    return _digest(tuple((p, s.st_size, s.st_mtime_ns) for p, s in zip(paths, stats, strict=True)))


@lru_cache(maxsize=4)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Gigabytes are read once a process, unless size or time of change (ns) differ."""
    total = hashlib.sha256()
    for path, *_ in files:
        total.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                total.update(block)
    return total.hexdigest()


def digest_robot(robot: RobotSpec) -> str:
    """SHA-256 of what a robot's YAML says, with all that it extends, but for where its URDF is."""
    content = {field.name: getattr(robot, field.name) for field in fields(robot)}
    del content["urdf"]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def find_version() -> str:
    """The version of this package; empty where it is not installed."""
    try:
        return importlib.metadata.version("dm0_ros")
    except importlib.metadata.PackageNotFoundError:
        return ""


def find_commit() -> str:
    """The git commit of this source tree, ``-dirty`` where files differ; else ''."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""  # no git here: then there is no telling
