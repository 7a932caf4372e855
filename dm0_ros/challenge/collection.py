# SPDX-License-Identifier: Apache-2.0
"""A collection of jobs: each when it is ready, until all have ended."""

from pathlib import Path

from dm0_ros.challenge.connection import Connection, MonotonicTime, Time
from dm0_ros.challenge.errors import ChallengeError, PayloadError, Rejected, Unreachable
from dm0_ros.challenge.journal import JobRecord, Journal, Outcome
from dm0_ros.challenge.platform import Job, Platform, Status
from dm0_ros.challenge.session import GivenUp, Patience, Session, Tell, Work
from dm0_ros.challenge.table import ChallengeTask, Table30, load_station, load_tasks
from dm0_ros.challenge.wire import make_wire
from dm0_ros.policy.protocol import Policy


def run_collection(
    name: str,
    task: ChallengeTask,
    policy: Policy,
    table: Table30,
    user: str,
    folder: Path,
    tell: Tell,
    clock: Time | None = None,
) -> list[JobRecord]:
    """Run every job of a collection, all of one task, and return their records.

    What is done is kept in ``folder``: called again after a crash, it goes on with the job that
    still runs. A job that was given up stays so until then; the others are run. Raises
    `ChallengeError` where the journal is another's, the plans do not fit the platform, or the
    collection itself cannot be read.
    """
    clock = clock or MonotonicTime()
    robot, station = load_station(task)
    spec = policy.spec
    wire = make_wire(robot, station, task, spec.action_names, spec.space)
    policy.check_instruction(task.prompt)
    connection = Connection(table.platform.address, user, table.client, clock)
    subject = {"task": task.name, "checkpoint": spec.name}
    with Journal(folder, name, subject) as journal:
        work = Work(
            Platform(connection, table.platform), policy, wire, task,
            table.platform, table.client, journal, clock, tell,
        )  # fmt: skip
        _Collection(name, work).run()
        return journal.records


class _Collection:
    """The loop over jobs, and which of them are done with."""

    def __init__(self, name: str, work: Work) -> None:
        self._name = name
        self._work = work
        self._left: set[str] = set()  # jobs that this process has ended or given up
        self._patience = Patience(work.settings.patience, work.clock)
        self._idle = Patience(work.settings.idle_limit, work.clock)

    def run(self) -> None:
        over = 0  # looks in a row that found nothing left to do
        while over < self._work.data.finished_polls:
            jobs = self._list_jobs()
            waiting = [job for job in jobs if not self._is_done(job)]
            over = 0 if waiting else over + 1
            if job := next((job for job in waiting if self._is_mine(job)), None):
                record = Session(self._work, job).run()
                self._left.add(job.name)
                self._work.tell(f"{job.name}: {record.outcome.value}: {record.reason}")
                self._idle.renew()
                continue
            if waiting:
                states = ", ".join(f"{job.name} {job.status.value}" for job in waiting)
                self._spend(self._idle, f"no job of collection {self._name} gets ready: {states}")
            self._work.clock.wait(self._work.settings.poll)

    def _list_jobs(self) -> list[Job]:
        while True:
            try:
                found = self._work.platform.read_collection(self._name)
            except (Unreachable, PayloadError) as cause:
                self._work.tell(str(cause))
                self._spend(self._patience, str(cause))
                self._work.clock.wait(self._work.settings.poll)
                continue
            if not found.jobs:
                raise Rejected(f"collection {self._name} has no jobs")
            self._check_task(found.task)
            self._patience.renew()
            return list(found.jobs)

    def _check_task(self, told: str) -> None:
        """A policy for another task would move the arm all the same."""
        if told in load_tasks() and told != self._work.task.name:
            raise ChallengeError(
                f"collection {self._name} is of task {told}, not {self._work.task.name}"
            )

    def _spend(self, patience: Patience, reason: str) -> None:
        try:
            patience.spend(Outcome.UNREACHABLE, reason)
        except GivenUp as end:
            raise Unreachable(end.reason) from end

    def _is_done(self, job: Job) -> bool:
        """Whether nothing is left to do; what ended while nobody looked is put on record."""
        journal = self._work.journal
        record = journal.find(job.name)
        if job.status.is_over and record is not None and record.outcome is None:
            journal.write(record, outcome=Outcome(job.status.value), reason="while we were away")
        return job.status.is_over or job.name in self._left

    def _is_mine(self, job: Job) -> bool:
        """Whether to run it now: it is ready, or was started by this journal."""
        if job.status is Status.ASSIGNED:
            return False
        record = self._work.journal.find(job.name)
        if job.status is Status.READY or (record and record.started is not None):
            return True
        if job.status is Status.RUNNING:
            self._left.add(job.name)
            reason = "it runs, and this journal did not start it: another client may be at it"
            self._work.tell(f"{job.name}: {reason}")
            stranger = JobRecord(job.name, job.robot, outcome=Outcome.FOREIGN, reason=reason)
            self._work.journal.write(stranger)
        return False
