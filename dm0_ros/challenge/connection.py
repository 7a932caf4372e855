# SPDX-License-Identifier: Apache-2.0
"""HTTP with bounds: every request has a time by which it ends, and an answer a greatest size."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from dm0_ros.challenge.errors import ChallengeError, Rejected, Unreachable
from dm0_ros.challenge.table import ClientSettings

Parameters = Sequence[tuple[str, str]]
_PIECE = 1 << 16
_SHOWN = 200  # characters of an answer that an error quotes
_AGAIN = {408, 425, 429}  # of the client's statuses, those that another attempt may mend


class Time(Protocol):
    """A clock that can be waited on, so that tests need not."""

    def now(self) -> float:
        """Seconds since some moment; they never go back."""

    def wait(self, seconds: float) -> None:
        """Return when so much has passed."""


class MonotonicTime:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Seconds since some moment; they never go back."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Return when so much has passed."""
        time.sleep(seconds)


class Connection:
    """Requests to one server, as one user. Redirections are not followed."""

    def __init__(self, address: str, user: str, settings: ClientSettings, clock: Time) -> None:
        """``address`` such as http://127.0.0.1:9098; ``user`` goes into the header x-user-id."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ChallengeError(f"'{address}' is no server; write such as http://127.0.0.1:9098")
        self.address = address.rstrip("/")
        self._parts = parts
        self._user = user
        self._settings = settings
        self._clock = clock

    def get(self, path: str, parameters: Parameters = ()) -> bytes:
        """The body of the answer. Asks again, later each time, where the server does not answer.

        Raises `Unreachable` after the last attempt, and `Rejected` where the request is wrong.
        """
        settings = self._settings
        pause = settings.pause
        for attempt in range(settings.attempts):
            if attempt:
                self._clock.wait(pause)
                pause = min(2 * pause, settings.longest_pause)
            try:
                return self.ask("GET", path, parameters)
            except Unreachable as cause:
                last = cause
        raise Unreachable(f"{last} ({settings.attempts} attempts)") from last

    def ask(
        self, method: str, path: str, parameters: Parameters = (), body: bytes | None = None
    ) -> bytes:
        """One attempt. Raises `Unreachable` or `Rejected`."""
        target = self._parts.path.rstrip("/") + path
        target += f"?{urlencode(parameters)}" if parameters else ""
        headers = {"x-user-id": self._user, "Accept": "*/*"}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        where = f"{method} {self.address}{path}"
        try:
            with self._open() as connection:
                connection.request(method, target, body, headers)
                response = connection.getresponse()
                content = self._read(response, where)
        except (OSError, http.client.HTTPException) as cause:
            raise Unreachable(f"{where}: {type(cause).__name__}: {cause}") from cause
        if response.status == 200:
            return content
        shown = content[:_SHOWN].decode("utf-8", "replace")
        kind = Rejected if 300 <= response.status < 500 else Unreachable
        kind = Unreachable if response.status in _AGAIN else kind
        raise kind(f"{where}: status {response.status}: {shown}")

    @contextmanager
    def _open(self) -> Iterator[http.client.HTTPConnection]:
        """A connection that is cut when the time is over, whatever drips from it."""
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        timeout = self._settings.timeout
        connection = kind(self._parts.hostname, self._parts.port, timeout=timeout)
        timer, is_cut = None, threading.Event()
        try:
            connection.connect()
            timer = threading.Timer(timeout, _cut, [connection.sock, is_cut])
            timer.daemon = True
            timer.start()
            yield connection
            if is_cut.is_set():  # what came looks whole where its length was not said
                raise TimeoutError(f"the answer was not whole after {timeout:g} s")
        finally:
            if timer:
                timer.cancel()
            connection.close()

    def _read(self, response: http.client.HTTPResponse, where: str) -> bytes:
        limit = self._settings.max_answer
        pieces, size = [], 0
        while piece := response.read1(_PIECE):
            size += len(piece)
            if size > limit:
                raise Rejected(f"{where}: the answer is longer than {limit} bytes")
            pieces.append(piece)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        return b"".join(pieces)


def _cut(connected: socket.socket, is_cut: threading.Event) -> None:
    is_cut.set()
    with suppress(OSError):  # it may just have ended by itself
        connected.shutdown(socket.SHUT_RDWR)
