# SPDX-License-Identifier: Apache-2.0
"""What was done of a collection of jobs, on disk, so that a client that died goes on."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from urllib.parse import quote

from dm0_ros.challenge.errors import JournalError

_VERSION = 1


class Outcome(str, Enum):
    """How a job ended for us."""

    FINISHED = "finished"  # these three are the platform's
    CANCELLED = "cancelled"
    FAILED = "failed"
    TIME_LIMIT = "time_limit"
    NOT_STARTED = "not_started"  # it was started, and never came to run
    REFUSED = "refused"  # the platform refused chunk after chunk
    UNREACHABLE = "unreachable"
    ROBOT_FAULT = "robot_fault"
    BAD_ANSWERS = "bad_answers"  # malformed, forbidden or stale
    POLICY = "policy"  # the policy refused the observation or failed
    FOREIGN = "foreign"  # it runs, and this journal did not start it


@dataclass(frozen=True)
class JobRecord:
    """One job, as far as it is known here."""

    name: str
    robot: str
    started: float | None = None  # s of the platform's clock; None: not by this journal
    chunks: int = 0  # accepted
    refusals: int = 0
    doubtful: int = 0  # chunks whose answer was lost
    resumed: int = 0  # times that a client took it up again
    outcome: Outcome | None = None
    reason: str = ""


class Journal:
    """The records of one collection, in one file. One process at a time has it open.

    Every change is on disk before the method returns: the file is replaced by a whole one, so a
    death in between leaves the one before.
    """

    def __init__(self, folder: Path, collection: str, subject: dict[str, str]) -> None:
        """``subject``: what the jobs are about (task, checkpoint). Raises `JournalError` where an
        earlier run was about another, or is still going on."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{quote(collection, safe='')}.json"
        self._subject = {"collection": collection, **subject}
        self._lock = open(self.path.with_suffix(".lock"), "w")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            self._lock.close()
            raise JournalError(f"{self.path}: another client runs this collection") from cause
        try:
            self._records = self._load()
        except JournalError:
            self.close()
            raise

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def records(self) -> list[JobRecord]:
        """All records, in the order in which they began."""
        return list(self._records.values())

    def find(self, name: str) -> JobRecord | None:
        """The record of a job, where there is one."""
        return self._records.get(name)

    def write(self, record: JobRecord, **changes: object) -> JobRecord:
        """The record with these changes, on disk."""
        changed = replace(record, **changes)
        self._records[record.name] = changed
        content = {
            "version": _VERSION,
            **self._subject,
            "jobs": [asdict(item) for item in self._records.values()],
        }
        _replace(self.path, json.dumps(content, indent=1) + "\n")
        return changed

    def _load(self) -> dict[str, JobRecord]:
        if not self.path.exists():
            return {}
        try:
            content = json.loads(self.path.read_text())
            found = {key: content[key] for key in self._subject}
            version = content["version"]
            jobs = [JobRecord(**item) for item in content["jobs"]]
            jobs = [replace(job, outcome=job.outcome and Outcome(job.outcome)) for job in jobs]
        except (ValueError, TypeError, KeyError) as cause:
            raise JournalError(f"{self.path} is no journal: {cause}; move it away") from cause
        if version != _VERSION:
            raise JournalError(f"{self.path} has version {version}, not {_VERSION}; move it away")
        if found != self._subject:
            raise JournalError(
                f"{self.path} is about {_describe(found)}, this run about "
                f"{_describe(self._subject)}: give the same, or another --journal"
            )
        return {job.name: job for job in jobs}


def _describe(subject: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in subject.items())


def _replace(path: Path, text: str) -> None:
    """Write the whole file or nothing of it."""
    beside = path.with_suffix(".new")
    with open(beside, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
