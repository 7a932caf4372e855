# SPDX-License-Identifier: Apache-2.0
"""Writing bags: MCAP files in rosbag2's layout, readable whatever happens to their writer."""

import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml
from mcap.writer import Writer
from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import dump_qos_v9

from dm0_ros.errors import Dm0Error
from dm0_ros.replay import metadata
from dm0_ros.replay.definitions import add_type, make_typestore
from dm0_ros.replay.metadata import Part, Topic
from dm0_ros.replay.salvage import read_part, replace_text
from dm0_ros.replay.unfinished import finish, scan

_STALE = 5.0  # s that metadata.yaml may be behind what MCAP records of the file say


@dataclass(frozen=True)
class Limits:
    """When a bag goes on in another file, and when it ends. 0: never."""

    seconds: float = 0.0  # of a file
    size: int = 0  # bytes of a file, before the last chunk
    keep_free: int = 0  # bytes of the disk


class _Output:
    """A file that ends with a whole record even where the disk is full."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._file = path.open("xb", buffering=0)
        self._size = 0

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Everything is with the operating system already."""

    def close(self) -> None:
        self._file.close()


class BagWriter:
    """Writes serialised messages into a new bag, in chunks compressed with zstd.

    What was written before a `flush` outlives this process. Close it, or the bag has no index and
    has to be repaired. Raises `Dm0Error` where ``path`` exists already, and where the disk is
    full: then nothing more is written, and the bag is still to be closed.
    """

    def __init__(self, path: Path, limits: Limits = Limits()) -> None:
        self.path = path
        self._limits = limits
        self._types = make_typestore()
        self._topics: dict[str, Topic] = {}
        self._channels: dict[str, int] = {}  # in the present file
        self._parts: list[Part] = []
        self._custom: dict[str, str] = {}
        self._written = 0.0  # monotonic time: of metadata.yaml
        self._full = ""  # why nothing more is written
        self._broken = False  # whether writing failed
        self._newest = 0  # ns: reception of the newest message
        self._opened: int | None = None  # the same, when the present file got its first message
        self._output: _Output | None = None
        try:
            path.mkdir(parents=True)
        except OSError as error:
            why = f"{path} exists already" if isinstance(error, FileExistsError) else error
            raise Dm0Error(f"cannot record to {path}: {why}; choose another path") from error
        self._attempt(self._begin_part)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics added so far."""
        return tuple(self._topics)

    def add_topic(self, topic: str, type_name: str, qualities: Collection[Qos] = ()) -> None:
        """Declare a topic of the type ``package/msg/Name`` and the quality its publishers offer.

        Raises `Dm0Error` where no definition of the type can be found.
        """
        add_type(self._types, type_name)
        # Of actions ours is not the one that ROS has: their parts are no messages there.
        digest = self._types.hash_rihs01(type_name) if "/msg/" in type_name else ""
        self._topics[topic] = Topic(topic, type_name, dump_qos_v9(list(qualities)), digest)
        self._attempt(self._register, self._topics[topic])

    def describe(self, facts: Mapping[str, str]) -> None:
        """Keep facts about the bag in its metadata, where readers find them by name."""
        news = {name: text for name, text in facts.items() if self._custom.get(name) != text}
        self._custom |= news
        if news and not self._broken and self._output is not None:
            self._attempt(self._writer.add_metadata, metadata.FACTS, news)

    def write(self, topic: str, nanoseconds: int, data: bytes) -> None:
        """Append a message in CDR that was received ``nanoseconds`` after 1970."""
        if self._full:
            raise Dm0Error(self._full)
        self._newest = max(self._newest, nanoseconds)
        if self._is_over():
            self._attempt(self._begin_part)
        if self._opened is None:
            self._opened = self._newest
        self._attempt(
            self._writer.add_message, self._channels[topic], nanoseconds, data, nanoseconds
        )
        self._parts[-1].note(topic, nanoseconds)

    def flush(self) -> None:
        """Hand everything to the operating system. Raises `Dm0Error` where the disk is full."""
        if self._full:
            return
        self._attempt(self._writer.flush)
        if time.monotonic() - self._written > _STALE:
            self._attempt(self._write_metadata)
        disk = os.statvfs(self.path)
        free = disk.f_bavail * disk.f_frsize
        if free < self._limits.keep_free:
            self._full = (
                f"only {free / 1e6:.0f} MB are left on the disk of {self.path}: recording ends "
                "here, and the bag is closed; make room, or record to another disk"
            )
            self.note_missing(self._full)
            raise Dm0Error(self._full)

    def note_missing(self, *sentences: str) -> None:
        """What the bag lacks, for its metadata when it is closed."""
        said = self._custom.get(metadata.MISSING, "").splitlines()
        if sentences:
            self._custom[metadata.MISSING] = "\n".join([*said, *sentences])

    def count(self) -> dict[str, int]:
        """Messages written so far, by topic."""
        return {
            topic: sum(part.counts.get(topic, 0) for part in self._parts) for topic in self._topics
        }

    def close(self) -> None:
        """Write what is pending, the index and metadata.yaml; as much as a full disk allows."""
        if self._output is None:
            return
        try:
            if not self._broken:
                self._write_metadata()
                self._end_part()
        except OSError as error:
            self._note_broken(error)
        if self._output is not None:
            self._close_broken()

    def _attempt(self, step, *arguments) -> None:
        try:
            step(*arguments)
        except OSError as error:
            self._note_broken(error)
            raise Dm0Error(self._full) from error

    def _note_broken(self, error: OSError) -> None:
        """The MCAP writer does not know any more what is in its file."""
        self._broken = True
        self._full = (
            f"cannot go on recording to {self.path}: {error.strerror}; what came before is kept: "
            f"make room, then close it with 'dm0 record --repair {self.path}'"
        )
        self.note_missing(self._full)

    def _is_over(self) -> bool:
        """Whether the present file is to have no more messages.

        By the newest message: those of a recorder that is held up do not come in order.
        """
        if self._opened is None:
            return False
        limits = self._limits
        if limits.size and self._output.tell() >= limits.size:
            return True
        return bool(limits.seconds) and (self._newest - self._opened) / 1e9 >= limits.seconds

    def _begin_part(self) -> None:
        splits = self._limits.seconds or self._limits.size
        name = f"{self.path.name}_{len(self._parts)}" if splits else self.path.name
        self._parts.append(Part(f"{name}.mcap"))
        # Before a file is closed or made: what metadata.yaml does not know is overlooked, what it
        # knows and is not there is noticed.
        self._write_metadata()
        if self._output is not None:
            self._end_part()
        self._output = _Output(self.path / self._parts[-1].name)
        self._opened = None
        self._writer = Writer(self._output)
        self._writer.start("ros2", "dm0_ros")
        self._schemas: dict[str, int] = {}
        self._channels.clear()
        if self._custom:
            self._writer.add_metadata(metadata.FACTS, self._custom)
        for topic in self._topics.values():
            self._register(topic)

    def _register(self, topic: Topic) -> None:
        if topic.type not in self._schemas:
            text, _ = self._types.generate_msgdef(topic.type, ros_version=2)
            schema = self._writer.register_schema(topic.type, "ros2msg", text.encode())
            self._schemas[topic.type] = schema
        self._channels[topic.name] = self._writer.register_channel(
            topic.name,
            "cdr",
            self._schemas[topic.type],
            {
                "offered_qos_profiles": yaml.safe_dump(topic.qualities).strip(),
                "topic_type_hash": topic.digest,
            },
        )

    def _end_part(self) -> None:
        """Close the present file, which may be the last but one."""
        part = next(part for part in self._parts if part.name == self._output.name)
        text = metadata.dump_part([*self._topics.values()], part, self._custom)
        self._writer.add_metadata("rosbag2", {"serialized_metadata": text})
        self._writer.finish()
        self._output.close()
        self._output = None

    def _close_broken(self) -> None:
        """What is in the file counts, not what was accepted; without room it stays unfinished."""
        path = self.path / self._output.name
        self._output.close()
        self._output = None
        found = scan(path)
        self._parts = [
            read_part(found) if part.name == path.name else part
            for part in self._parts
            if (self.path / part.name).exists()
        ]
        with suppress(OSError):  # readers make do, and a sentence was said already
            self._write_metadata()
            finish(path)

    def _write_metadata(self) -> None:
        text = metadata.dump_metadata([*self._topics.values()], self._parts, self._custom)
        replace_text(self.path / metadata.NAME, text)
        self._written = time.monotonic()
