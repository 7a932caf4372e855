# SPDX-License-Identifier: Apache-2.0
"""The job client against the mock of the platform, over HTTP: jobs are done, and troubles end."""

import json
from dataclasses import replace

import numpy as np
import pytest
from challenge_samples import OFFSET, POSE, TASKS, Rehearsal

from dm0_ros.challenge.errors import ChallengeError, JournalError, Rejected, Unreachable
from dm0_ros.challenge.journal import Outcome
from dm0_ros.challenge.platform import Status
from dm0_ros.challenge.table import find_task
from dm0_ros.errors import Dm0Error
from dm0_ros.robots.layouts import Space

SPACES = [(robot, Space.JOINT_POSITION) for robot in TASKS]
SPACES += [(robot, Space.EEF_POSE) for robot in POSE]


@pytest.mark.parametrize(("robot", "space"), SPACES)
def test_every_robot_completes_its_jobs(tmp_path, robot, space):
    with Rehearsal(tmp_path, robot, space=space, jobs=2) as it:
        records = it.run()
        assert [(r.outcome, r.chunks, r.refusals) for r in records] == [
            (Outcome.FINISHED, 3, 0)
        ] * 2
        assert it.policy.resets == 2
        assert len(it.platform.sent) == len(it.policy.observations) == 6
    for rows, seen in zip(it.platform.sent, it.policy.observations, strict=True):
        pose = space is Space.EEF_POSE and robot != "arx5"
        assert np.shape(rows) == (10, len(it.policy.spec.action_names) + pose)
        assert seen.instruction == it.task.prompt
        assert set(seen.pictures) == set(it.policy.spec.camera_slots)
        assert all(picture.shape == (12, 16, 3) for picture in seen.pictures.values())
    # what a chunk leads to is what is seen next: states are those of the arm, in SI
    moved = it.policy.observations[1].state - it.policy.observations[0].state
    moved = (moved + np.pi) % (2 * np.pi) - np.pi  # the UR5's roll at home is half a turn
    assert 0 < np.abs(moved).max() < 0.02


@pytest.mark.parametrize(
    "fault",
    [
        "status@state+1x4", "status@actionx2", "status@job+2x5", "status@start", "status@clock",
        "status@collectionx4", "drop@state+1x2", "drop@action", "garbage@state+1", "garbage@job",
        "garbage@action", "small@statex2", "abnormal@state+1x3", "stale@state+1x3",
        "error@actionx3", "hang@state+1", "hang@action", "drip@job", "huge@state", "lost@start",
    ],
)  # fmt: skip
def test_passing_troubles_are_survived(tmp_path, fault):
    with Rehearsal(tmp_path, faults=(fault,)) as it:
        (record,) = it.run(max_answer=100_000)
        assert (record.outcome, record.chunks) == (Outcome.FINISHED, 3), record
        assert len(it.platform.sent) == 3
        assert it.server.faults.is_spent


def test_a_chunk_whose_answer_is_lost_is_not_sent_again(tmp_path):
    """The next look finds it pending. Chunks are counted by what was answered."""
    with Rehearsal(tmp_path, faults=("lost@action",)) as it:
        (record,) = it.run()
        assert record.outcome is Outcome.FINISHED
        assert (record.chunks, record.doubtful, len(it.platform.sent)) == (2, 1, 3)
        assert len({json.dumps(rows) for rows in it.platform.sent}) == 3


@pytest.mark.parametrize("fault", ["restart@state+2", "restart@action+1", "restart@job+3"])
def test_a_server_that_restarts_in_mid_job_is_met_again(tmp_path, fault):
    with Rehearsal(tmp_path, faults=(fault,)) as it:
        (record,) = it.run()
        assert record.outcome is Outcome.FINISHED
        assert it.server.faults.is_spent


class Died(BaseException):
    """As if the process had been killed here."""


def test_a_client_that_died_goes_on_where_it_was(tmp_path):
    with Rehearsal(tmp_path, chunks=4) as it:
        infer = it.policy.infer

        def die(observation, prefix=None):
            if len(it.policy.observations) == 2:
                raise Died
            return infer(observation, prefix)

        it.policy.infer = die
        with pytest.raises(Died):
            it.run()
        content = json.loads((tmp_path / "c.json").read_text())
        assert [(job["chunks"], job["outcome"]) for job in content["jobs"]] == [(2, None)]
        started = content["jobs"][0]["started"]
        it.policy.infer = infer
        (record,) = it.run()
        assert (record.outcome, record.chunks, record.resumed) == (Outcome.FINISHED, 4, 1)
        assert record.started == started
        assert len(it.platform.sent) == 4


def test_the_time_limit_counts_from_the_first_start(tmp_path):
    """Two clients' times add up, by the platform's clock."""
    with Rehearsal(tmp_path, chunks=0) as it:

        def die(text):
            raise Died

        infer = it.policy.infer
        it.policy.infer = lambda observation, prefix=None: die("")
        with pytest.raises(Died):
            it.run()
        it.policy.infer = infer
        it.clock.wait(590.0)
        (record,) = it.run()
        assert record.outcome is Outcome.TIME_LIMIT
        assert len(it.platform.sent) < 12


def test_a_server_that_always_says_error_ends_the_job(tmp_path):
    with Rehearsal(tmp_path, faults=("error@actionxever",)) as it:
        (record,) = it.run()
        assert (record.outcome, record.refusals, record.chunks) == (Outcome.REFUSED, 5, 0)
        assert "5 in a row" in record.reason and "told to refuse" in record.reason


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        ("status@statexever", Outcome.UNREACHABLE, "status 500: told to fail"),
        ("status@actionxever", Outcome.UNREACHABLE, "status 500"),
        ("garbage@actionxever", Outcome.BAD_ANSWERS, "no JSON"),
        ("abnormal@statexever", Outcome.ROBOT_FAULT, "the robot is abnormal"),
        ("stale@statexever", Outcome.BAD_ANSWERS, "the observation is 60.00 s old"),
        ("small@statexever", Outcome.BAD_ANSWERS, r"(8, 6) pixels, (16, 12) were asked for"),
        ("garbage@statexever", Outcome.BAD_ANSWERS, "payload is damaged"),
        ("status@clockxever", Outcome.UNREACHABLE, "none of 3 questions for the clock"),
        ("drop@startxever", Outcome.UNREACHABLE, "RemoteDisconnected"),
    ],
)
def test_lasting_troubles_end_the_job_by_name(tmp_path, fault, outcome, reason):
    with Rehearsal(tmp_path, faults=(fault,)) as it:
        (record,) = it.run()
        assert record.outcome is outcome
        assert reason in record.reason
        assert it.platform.sent == []


@pytest.mark.parametrize("fault", ["trap@state", "trap@state+2"])
def test_a_trap_is_not_sprung_and_ends_the_job(tmp_path, fault):
    with Rehearsal(tmp_path, faults=(fault,)) as it:
        (record,) = it.run()
        assert record.outcome is Outcome.BAD_ANSWERS
        assert "posix.mkdir" in record.reason
        assert not it.platform.trap.exists()


def test_a_server_that_is_not_there_is_named(tmp_path):
    with Rehearsal(tmp_path) as it:
        it.server.close()
        with pytest.raises(Unreachable, match=r"ConnectionRefusedError.*no progress for 6\d s"):
            it.run()
        assert it.clock.now() < 300


def test_a_collection_that_never_gets_ready_ends(tmp_path):
    with Rehearsal(tmp_path) as it:
        it.platform.end_job("c-0", Status.PREPARE)
        it.platform.read_job = lambda name: {}
        with pytest.raises(Unreachable, match=r"gets ready: c-0 prepare .no progress for 50 s"):
            it.run(idle_limit=50.0)


def test_a_collection_that_is_not_there_is_named(tmp_path):
    with Rehearsal(tmp_path) as it:
        it.platform._collections.clear()
        with pytest.raises(Rejected, match="status 404: no collection c"):
            it.run()


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.FAILED])
def test_what_the_operator_ends_is_ended(tmp_path, status):
    with Rehearsal(tmp_path, jobs=2, chunks=3) as it:
        infer = it.policy.infer

        def end(observation, prefix=None):
            if len(it.policy.observations) == 1:
                it.platform.end_job("c-0", status)
            return infer(observation, prefix)

        it.policy.infer = end
        first, second = it.run()
        assert first.outcome is Outcome(status.value)
        assert second.outcome is Outcome.FINISHED


def test_jobs_of_another_client_are_left_alone(tmp_path):
    with Rehearsal(tmp_path) as it:
        it.platform.update_job("c-0", "start")
        it.platform.read_job("c-0")
        for _ in range(2):
            (record,) = it.run()
            assert record.outcome is Outcome.FOREIGN
        assert it.platform.sent == []


def test_a_policy_that_fails_ends_the_job_with_its_words(tmp_path):
    with Rehearsal(tmp_path) as it:

        def fail(observation, prefix=None):
            raise Dm0Error("the network is tired")

        it.policy.infer = fail
        (record,) = it.run()
        assert (record.outcome, record.reason) == (Outcome.POLICY, "the network is tired")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_plans_that_are_not_finite_are_never_sent(tmp_path, value):
    with Rehearsal(tmp_path) as it:
        infer = it.policy.infer

        def spoil(observation, prefix=None):
            plan = infer(observation, prefix)
            plan.values[2, 3] = value
            return plan

        it.policy.infer = spoil
        (record,) = it.run()
        assert record.outcome is Outcome.POLICY and it.platform.sent == []


def test_plans_beyond_the_limits_are_cut_and_slowed(tmp_path):
    """Without an executor in front, the client keeps joints to what they can do."""
    with Rehearsal(tmp_path) as it:
        infer = it.policy.infer

        def leap(observation, prefix=None):
            plan = infer(observation, prefix)
            return replace(plan, values=plan.values + 0.9)

        it.policy.infer = leap
        (record,) = it.run()
        assert (record.outcome, record.refusals) == (Outcome.FINISHED, 0)
        assert any("instead of 0.100 s" in text for text in it.told)
        highest = np.array([joint.upper for joint in it.robot.joints])
        assert (np.max(it.platform.sent, axis=(0, 1))[:6] <= highest + 1e-9).all()


def test_observations_are_stamped_by_our_clock(tmp_path):
    with Rehearsal(tmp_path) as it:
        it.run()
        stamps = [seen.stamp for seen in it.policy.observations]
        assert stamps == sorted(stamps) and stamps[-1] < it.clock.now() < OFFSET
        # three chunks of 1 s each
        assert np.diff(stamps) == pytest.approx([1.0, 1.0], abs=0.6)


def test_a_plan_that_the_platform_has_no_word_for_is_refused(tmp_path):
    with (
        Rehearsal(tmp_path, "aloha", space=Space.EEF_POSE) as it,
        pytest.raises(ChallengeError, match="takes joint_position, the policy plans eef_pose"),
    ):
        it.run()


def test_a_collection_of_another_task_is_refused(tmp_path):
    with Rehearsal(tmp_path) as it:
        it.task = find_task("open_the_drawer")
        with pytest.raises(ChallengeError, match="is of task put_cup_on_coaster, not open_the_dr"):
            it.run()
        assert it.platform.sent == []


@pytest.mark.parametrize("told", [None, "", "Put the cup", 5])
def test_a_task_under_an_unknown_name_is_taken_at_the_users_word(tmp_path, told):
    with Rehearsal(tmp_path) as it:
        list_jobs = it.platform.list_jobs
        it.platform.list_jobs = lambda name: {**list_jobs(name), "task_name": told}
        (record,) = it.run()
        assert record.outcome is Outcome.FINISHED


def test_a_journal_is_of_one_task_and_one_process(tmp_path):
    with Rehearsal(tmp_path) as it:
        it.run()
        path = tmp_path / "c.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "checkpoint": "other"}))
        with pytest.raises(JournalError, match=r"checkpoint other, this run about .*wave"):
            it.run()
        path.write_text("{")
        with pytest.raises(JournalError, match="no journal"):
            it.run()


def test_two_clients_never_run_one_collection(tmp_path):
    with Rehearsal(tmp_path) as it:
        refused = []

        def again(text):
            with pytest.raises(JournalError, match="another client"):
                it.run()
            refused.append(text)

        (record,) = it.run(tell=again)
        assert record.outcome is Outcome.FINISHED and len(refused) == 2
