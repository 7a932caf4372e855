# SPDX-License-Identifier: Apache-2.0
"""Requests end in time and within their size, and clocks are compared by the quickest answer."""

import http.server
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from challenge_samples import SETTINGS, PassingTime

from dm0_ros.challenge.clock import estimate_offset
from dm0_ros.challenge.connection import Connection, MonotonicTime
from dm0_ros.challenge.errors import ChallengeError, PayloadError, Rejected, Unreachable
from dm0_ros.challenge.faults import Call, Fault, FaultKind, FaultPlan, parse_fault
from dm0_ros.challenge.mock_platform import MockPlatform
from dm0_ros.challenge.mock_server import MockServer
from dm0_ros.challenge.platform import Platform, View
from dm0_ros.challenge.table import find_task, load_table30

SHORT = replace(SETTINGS, timeout=0.3, max_answer=200_000)


@contextmanager
def mock(*faults, user="me"):
    """A mock with one collection, and a connection to it."""
    platform = MockPlatform(time.monotonic)
    platform.add("c", find_task("stack_bowls"))
    with MockServer(platform, tuple(map(parse_fault, faults))) as server:
        clock = PassingTime()
        yield Connection(server.address, user, SHORT, clock), clock


@contextmanager
def raw(answer: bytes):
    """A server that gives these very bytes to whatever it is asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.wfile.write(answer)
            self.close_connection = True

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    yield Connection(address, "me", SHORT, PassingTime())
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_an_answer_that_does_not_come_is_cut(kind):
    """Dripping would keep a plain socket timeout from ever passing."""
    with mock(f"{kind}@jobx3") as (connection, clock), pytest.raises(Unreachable, match="attemp"):
        connection.get("/jobs/c-0")
    # two pauses between three attempts, the second twice as long
    assert clock.now() - 100.0 == pytest.approx(1.5, abs=0.1)


def test_an_answer_without_an_end_is_cut():
    with mock("huge@job") as (connection, _), pytest.raises(Rejected, match="longer than 200000"):
        connection.get("/jobs/c-0")


def test_a_wrong_request_is_not_repeated():
    with mock() as (connection, clock):
        with pytest.raises(Rejected, match="status 404: no job x"):
            connection.get("/jobs/x")
        with pytest.raises(Rejected, match="status 404: no such call"):
            connection.get("/elsewhere")
    assert clock.now() < 100.1


def test_whoever_has_no_name_is_turned_away():
    with mock(user="") as (connection, _), pytest.raises(Rejected, match="x-user-id is missing"):
        connection.get("/jobs/c-0")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Unreachable),
        (b"SSH-2.0-OpenSSH\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Unreachable),
        (b"HTTP/1.1 302 Found\r\nLocation: /jobs/2\r\nContent-Length: 0\r\n\r\n", Rejected),
        (b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", Unreachable),
    ],
)  # fmt: skip
def test_odd_answers_are_named(answer, error):
    with raw(answer) as connection, pytest.raises(error, match="GET http://127"):
        connection.get("/jobs/1")


@pytest.mark.parametrize("address", ["", "localhost:80", "ftp://a", "http://"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ChallengeError, match="is no server"):
        Connection(address, "me", SETTINGS, MonotonicTime())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no usable 'device'|no usable 'jobs'"),
        (b'{"device": {"robot_id": 1}}', "no usable 'status'"),
        (b'{"device": {"robot_id": ""}, "status": "ready"}', "empty or endless id"),
        (b'{"device": {"robot_id": "a"}, "status": "bored"}', "'bored'; known are assigned"),
    ],
)
def test_answers_that_are_no_jobs_are_refused(body, reason):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    with raw(head + body) as connection:
        platform = Platform(connection, load_table30().platform)
        with pytest.raises(PayloadError, match=reason):
            platform.read_job("1")


def test_a_question_without_an_action_type_says_so():
    with mock() as (connection, _):
        platform = Platform(connection, load_table30().platform)
        state = platform.read_state("aloha-c", View(("high",), (8, 8), ""))
    assert state.condition.value == "size_none"


def test_the_readmes_paths_work_too():
    with mock() as (connection, _):
        for path in ("/robots/aloha-c/direct", "/api/robot/aloha-c/direct"):
            data = replace(load_table30().platform, robot_path=path.replace("aloha-c", "{robot}"))
            assert Platform(connection, data).read_clock("aloha-c") > 0
            for end in ("start_motion", "stop_motion", "end_motion"):
                assert b"success" in connection.get(f"{path}/{end}")


def test_the_quickest_answer_tells_the_offset():
    clock = PassingTime()
    delays = iter([(0.3, 0.9), (0.01, 0.02), (0.5, 0.0)])

    def read():
        there, back = next(delays)
        clock.wait(there)
        theirs = clock.now() + 500.0
        clock.wait(back)
        return theirs

    found = estimate_offset(read, clock, 3, 0.1)
    assert found.uncertainty == pytest.approx(0.015, abs=1e-3)
    assert abs(found.offset - 500.0) <= found.uncertainty
    assert found.to_ours(found.to_theirs(7.0)) == pytest.approx(7.0)


def test_some_probes_may_fail():
    clock, answers = PassingTime(), iter([Unreachable("gone"), 5.0, PayloadError("odd")])

    def read():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert estimate_offset(read, clock, 3, 0.0).uncertainty < 1
    answers = iter([Unreachable("gone")] * 2)
    with pytest.raises(Unreachable, match=r"none of 2 questions.*gone"):
        estimate_offset(read, clock, 2, 0.0)


@pytest.mark.parametrize("text", ["", "hang", "hang@nowhere", "sing@state", "hang@state+x", "a@b"])
def test_what_is_no_fault_is_refused(text):
    with pytest.raises(ChallengeError, match="is no fault; write KIND@CALL"):
        parse_fault(text)


@pytest.mark.parametrize("text", ["trap@action", "stale@job", "error@state"])
def test_faults_have_their_places(text):
    with pytest.raises(ChallengeError, match="cannot happen at"):
        parse_fault(text)


def test_faults_come_when_they_are_due():
    assert parse_fault("hang@state+3xever") == Fault(FaultKind.HANG, Call.STATE, 3, None)
    plan = FaultPlan((parse_fault("hang@state+1x2"), parse_fault("drop@state")))
    taken = [plan.take(Call.STATE) for _ in range(5)]
    assert taken == [None, FaultKind.HANG, FaultKind.HANG, FaultKind.DROP, None]
    assert plan.take(Call.ACTION) is None and plan.is_spent
