# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face hub on the loopback: as much of its HTTP API as its client asks for."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

API = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<revision>[^/]+)")
FILE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass
class Hub:
    """Repositories, what is wrong with them, and what was asked for."""

    # name -> revision -> (commit, folder with the files)
    repositories: dict[str, dict[str, tuple[str, Path]]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)  # path: bytes sent before the line goes dead
    failing: set[str] = field(default_factory=set)  # paths whose GET answers 500
    requests: list[tuple[str, str, dict]] = field(default_factory=list)

    def add(self, name: str, folder: Path, revision: str = "main", commit: str = "a" * 40):
        entry = (commit, folder)
        self.repositories.setdefault(name, {}).update({revision: entry, commit: entry})

    def fetched(self) -> list[str]:
        """The files whose content was asked for."""
        found = (FILE.fullmatch(path) for method, path, _ in self.requests if method == "GET")
        return [match["path"] for match in found if match]


def serve(hub: Hub) -> ThreadingHTTPServer:
    """A server for the hub, not started yet; its address is `server_address`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_HEAD(self):
            self._answer()

        def do_GET(self):
            self._answer()

        def _answer(self):
            path = unquote(urlsplit(self.path).path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            hub.requests.append((self.command, path, headers))
            match = API.fullmatch(path) or FILE.fullmatch(path)
            revisions = hub.repositories.get(match["name"]) if match else None
            if revisions is None:
                return self._refuse(404, "RepoNotFound")
            if match["name"] in hub.forbidden:
                return self._refuse(403, None)
            if match["revision"] not in revisions:
                return self._refuse(404, "RevisionNotFound")
            commit, folder = revisions[match["revision"]]
            if match.re is FILE:
                if match["name"] in hub.gated and "Authorization" not in self.headers:
                    return self._refuse(401, "GatedRepo")
                return self._send_file(commit, folder, match["path"])
            content = {"id": match["name"], "sha": commit, "siblings": []}
            if match["what"] == "tree":
                files = sorted(file for file in folder.rglob("*") if file.is_file())
                content = [describe(file, folder) for file in files]
            return self._send(200, json.dumps(content).encode())

        def _refuse(self, status, code):
            headers = {"X-Error-Message": "no"} | ({"X-Error-Code": code} if code else {})
            self._send(status, b'{"error": "no"}', headers)

        def _send_file(self, commit, folder, path):
            content = (folder / path).read_bytes()
            headers = {"ETag": f'"{digest(content)}"', "X-Repo-Commit": commit}
            if self.command == "HEAD":
                return self._send(200, content, headers)
            if path in hub.failing:
                return self._refuse(500, None)
            begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if begin is None:
                return self._send(200, content, headers, hub.cut.pop(path, None))
            start = int(begin[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self._send(206, content[start:], headers)

        def _send(self, status, content, headers=None, cut=None):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[:cut])
            if cut is not None:
                self.close_connection = True

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def digest(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def describe(file: Path, folder: Path) -> dict:
    content = file.read_bytes()
    path = file.relative_to(folder).as_posix()
    return {"type": "file", "path": path, "size": len(content), "oid": digest(content)}
