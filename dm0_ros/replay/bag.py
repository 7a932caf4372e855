# SPDX-License-Identifier: Apache-2.0
"""Bags: MCAP in the layout of rosbag2 (a folder with metadata.yaml), without ROS."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.errors import ReaderError, WriterError

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.definitions import add_type, make_typestore

_NANOSECONDS = 1_000_000_000


class Message(NamedTuple):
    """One recorded message."""

    topic: str
    time: float  # s since 1970: when it was received
    content: Any  # with the fields of its type


class BagWriter:
    """Writes serialised messages into a new bag, in chunks compressed with zstd.

    Close it, or the bag has no index. Raises `Dm0Error` where ``path`` exists already.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._types = make_typestore()
        self._topics: dict[str, Connection] = {}
        try:
            self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except WriterError as error:
            raise Dm0Error(f"cannot record to {path}: {error}; choose another path") from error

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics added so far."""
        return tuple(self._topics)

    def add_topic(self, topic: str, type_name: str, qualities: Collection[Qos] = ()) -> None:
        """Declare a topic of the type ``package/msg/Name`` and the quality its publishers offer.

        Raises `Dm0Error` where no definition of the type can be found.
        """
        add_type(self._types, type_name)
        self._topics[topic] = self._writer.add_connection(
            topic, type_name, typestore=self._types, offered_qos_profiles=list(qualities)
        )

    def write(self, topic: str, nanoseconds: int, data: bytes) -> None:
        """Append a message in CDR that was received ``nanoseconds`` after 1970."""
        self._writer.write(self._topics[topic], nanoseconds, data)

    def count(self) -> dict[str, int]:
        """Messages written so far, by topic."""
        return {
            topic: self._writer.counts[connection.id] for topic, connection in self._topics.items()
        }

    def close(self) -> None:
        """Write what is pending, the index and metadata.yaml."""
        self._writer.close()


def read_messages(path: Path, topics: Collection[str] | None = None) -> Iterator[Message]:
    """The messages of a bag in order of reception; of these topics only, where given.

    Raises `Dm0Error` where ``path`` is no complete bag, or a message is broken.
    """
    with _open(path) as reader:
        chosen = [c for c in reader.connections if topics is None or c.topic in topics]
        if not chosen:
            return
        for connection, nanoseconds, data in reader.messages(chosen):
            try:
                content = reader.deserialize(data, connection.msgtype)
            except AnyReaderError as error:
                raise Dm0Error(
                    f"{path}: a message of {connection.topic} is not what the bag says "
                    f"{connection.msgtype} is ({error}); was msg/ edited without `make env`?"
                ) from error
            yield Message(connection.topic, nanoseconds / _NANOSECONDS, content)


def list_topics(path: Path) -> dict[str, str]:
    """Type names by topic. Raises `Dm0Error` where ``path`` is no complete bag."""
    with _open(path) as reader:
        return {connection.topic: connection.msgtype for connection in reader.connections}


@contextmanager
def _open(path: Path) -> Iterator[AnyReader]:
    try:
        reader = AnyReader([path])
        reader.open()
    except (AnyReaderError, ReaderError, OSError) as error:
        raise Dm0Error(
            f"{path}: not a complete bag ({error}); was its recorder ended before it could close?"
        ) from error
    try:
        yield reader
    finally:
        reader.close()
