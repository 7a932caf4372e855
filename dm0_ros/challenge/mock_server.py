# SPDX-License-Identifier: Apache-2.0
"""A mock of RoboChallenge's platform on the loopback: for tests, and to rehearse a session."""

import json
import pickle
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dm0_ros.challenge.faults import Call, Fault, FaultKind, FaultPlan, make_trap
from dm0_ros.challenge.mock_platform import MockPlatform, NotFound
from dm0_ros.challenge.mock_robot import Refusal

_LONGEST_BODY = 1 << 22
_PIECE = bytes(1 << 16)
_DRIP = 0.05  # s between two bytes
_BEFORE = {FaultKind.HANG, FaultKind.DRIP, FaultKind.DROP, FaultKind.HUGE, FaultKind.RESTART}
_BEFORE |= {FaultKind.STATUS, FaultKind.GARBAGE, FaultKind.TRAP}
# The platform's README writes /api/robot/ID/direct, its client /robots/ID/direct.
_ROBOT = r"(?:/robots|/api/robot)/([^/]+)/direct"
_ROUTES = [
    ("GET", r"/job_collections/([^/]+)", Call.COLLECTION),
    ("GET", r"/jobs/([^/]+)", Call.JOB),
    ("POST", r"/jobs/(update)", Call.START),
    ("GET", rf"{_ROBOT}/clock-sync", Call.CLOCK),
    ("GET", rf"{_ROBOT}/state\.pkl", Call.STATE),
    ("POST", rf"{_ROBOT}/action", Call.ACTION),
    ("GET", rf"{_ROBOT}/(?:start_motion|stop_motion|end_motion)", Call.MOTION),
]


class MockServer:
    """Serves a `MockPlatform` at 127.0.0.1 until it is closed; a context manager."""

    def __init__(
        self, platform: MockPlatform, faults: tuple[Fault, ...] = (), port: int = 0
    ) -> None:
        """``port`` 0: one that is free."""
        self.platform = platform
        self.faults = FaultPlan(faults)
        self.closing = threading.Event()
        self._open(port)

    def _open(self, port: int) -> None:
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.daemon = True
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it is, such as http://127.0.0.1:9098."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def restart(self) -> None:
        """End and come back at the same port. Jobs stay; what robots had queued is lost."""
        port = self._server.server_address[1]
        self._end()
        with self.platform.lock:
            self.platform.lose_queues()
        self._open(port)

    def close(self) -> None:
        """End, and let go of every client that hangs."""
        self.closing.set()
        self._end()

    def _end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> "MockServer":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _find_call(method: str, path: str) -> tuple[Call | None, str]:
    """What is asked, and of which collection, job or robot."""
    for wanted, pattern, call in _ROUTES:
        if wanted == method and (match := re.fullmatch(pattern, path)):
            return call, unquote(match[1])
    return None, ""


class _Handler(BaseHTTPRequestHandler):
    owner: MockServer

    def log_message(self, *_arguments: object) -> None:
        """Tests and rehearsals have reports of their own."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) if length <= _LONGEST_BODY else b""
        call, name = _find_call(method, parts.path)
        if call is None:
            return self._send(404, b"no such call")
        if not self.headers.get("x-user-id") and call is not Call.MOTION:
            return self._send(401, b"header x-user-id is missing")
        fault = self.owner.faults.take(call)
        if fault in _BEFORE:
            return self._go_wrong(fault)
        try:
            with self.owner.platform.lock:
                content = self._do(call, name, parse_qs(parts.query), body, fault)
        except NotFound as cause:
            return self._send(404, str(cause).encode())
        except (Refusal, ValueError, KeyError, AttributeError) as cause:
            return self._send(400, str(cause).encode())
        if fault is FaultKind.LOST:
            self.close_connection = True
            return None
        is_state = call is Call.STATE
        encoded = pickle.dumps(content) if is_state else json.dumps(content).encode()
        return self._send(200, encoded)

    def _do(self, call: Call, name: str, query: dict, body: bytes, fault: FaultKind | None) -> Any:
        platform = self.owner.platform
        if call is Call.COLLECTION:
            return platform.list_jobs(name)
        if call is Call.JOB:
            return platform.read_job(name)
        if call is Call.START:
            content = json.loads(body)
            return platform.update_job(content["job_id"], content["action"])
        if call is Call.CLOCK:
            return {"timestamp": platform.now()}
        if call is Call.STATE:
            return platform.look(name, query, fault)
        if call is Call.MOTION:
            return platform.move(name)
        if fault is FaultKind.ERROR:
            return {"result": "error", "message": "told to refuse"}
        return platform.act(name, query.get("action_type", [""])[0], json.loads(body))

    def _go_wrong(self, fault: FaultKind) -> None:
        if fault is FaultKind.STATUS:
            return self._send(500, b"told to fail")
        if fault is FaultKind.GARBAGE:
            return self._send(200, b"\x80\x04 garbage")
        if fault is FaultKind.TRAP:
            return self._send(200, make_trap(str(self.owner.platform.trap)))
        self.close_connection = True
        if fault is FaultKind.HANG:
            self.owner.closing.wait()
        elif fault is FaultKind.RESTART:
            self.owner.restart()
        elif fault in (FaultKind.HUGE, FaultKind.DRIP):
            self._pour(*(_PIECE, 0.0) if fault is FaultKind.HUGE else (b"x", _DRIP))
        return None

    def _pour(self, piece: bytes, pause: float) -> None:
        """Write until nobody listens."""
        self.send_response(200)
        self.end_headers()
        try:
            while not self.owner.closing.wait(pause):
                self.wfile.write(piece)
        except OSError:
            return  # the client has gone, as it should

    def _send(self, status: int, content: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True  # the client did not wait
