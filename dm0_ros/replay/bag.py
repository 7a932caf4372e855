# SPDX-License-Identifier: Apache-2.0
"""Bags: MCAP in the layout of rosbag2 (a folder with metadata.yaml), without ROS.

`BagWriter` is in writing.py. A bag that nobody closed is read as far as it goes, with a warning.
"""

import logging
import math
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.storage_mcap import zstd
from rosbags.serde import SerdeError
from rosbags.typesys.store import Typestore

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.chunks import use_small_index
from dm0_ros.replay.definitions import make_typestore
from dm0_ros.replay.metadata import MISSING
from dm0_ros.replay.salvage import SalvagedFile, SalvagedFolder, salvage
from dm0_ros.replay.writing import BagWriter as BagWriter

use_small_index()
_NANOSECONDS = 1_000_000_000
# What rosbags raises for files that are no bags or broken ones: its own errors, and those of what
# it is made of.
_FAULTS = (
    *(
        AnyReaderError,
        ReaderError,
        zstd.ZstdError,
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
    ),
    *(IndexError, AttributeError, AssertionError, MemoryError, OverflowError, struct.error),
)


class Message(NamedTuple):
    """One recorded message."""

    topic: str
    time: float  # s since 1970: when it was received
    content: Any  # with the fields of its type


class RawMessage(NamedTuple):
    """One recorded message, as bytes."""

    topic: str
    time: float  # s since 1970: when it was received
    data: bytes  # CDR
    read: Callable[[], Any]  # its content, with the fields of its type

    @property
    def stamp(self) -> float:
        """Seconds in the stamp of a message that begins with a header; costs no `read`."""
        order = "<" if self.data[1] & 1 else ">"
        sec, nanosec = struct.unpack_from(f"{order}iI", self.data, 4)
        return sec + nanosec / _NANOSECONDS


@dataclass(frozen=True)
class Contents:
    """What a bag says of itself."""

    topics: Mapping[str, str]  # type names
    counts: Mapping[str, int]  # of messages, by topic
    begin: float  # s since 1970: of the first message; NaN where there is none
    end: float  # of the last one
    custom: Mapping[str, str]  # what its recorder added
    missing: Sequence[str] = ()  # sentences about what it lacks
    qualities: Mapping[str, Sequence[Qos]] = field(default_factory=dict)  # offered, by topic


def read_messages(path: Path, topics: Collection[str] | None = None) -> Iterator[Message]:
    """The messages of a bag in order of reception; of these topics only, where given.

    Raises `Dm0Error` where ``path`` is no complete bag, or a message is broken.
    """
    for message in read_raw(path, topics):
        yield Message(message.topic, message.time, message.read())


def read_raw(
    path: Path,
    topics: Collection[str] | None = None,
    begin: float | None = None,
    end: float | None = None,
) -> Iterator[RawMessage]:
    """The same, undecoded; those received from ``begin`` up to ``end`` (s since 1970) only."""
    with _open(path) as reader:
        chosen = [c for c in reader.connections if topics is None or c.topic in topics]
        if not chosen:
            return
        first, last = (None if t is None else round(t * _NANOSECONDS) for t in (begin, end))
        messages = reader.messages(chosen, first, last)
        nanoseconds, types = None, reader.typestore  # which closing takes from the reader
        while True:
            try:
                connection, nanoseconds, data = next(messages)
            except StopIteration:
                return
            except _FAULTS as error:
                raise Dm0Error(
                    f"{path}: broken {_say_where(nanoseconds, reader)}: {_say(error)}; copy the "
                    "bag again, or see what can be saved with 'mcap recover'"
                ) from error
            read = partial(_read, path, types, connection, data)
            yield RawMessage(connection.topic, nanoseconds / _NANOSECONDS, data, read)


def _read(path: Path, types: Typestore, connection: Connection, data: bytes) -> Any:
    try:
        return types.deserialize_cdr(data, connection.msgtype)
    except KeyError as error:
        raise Dm0Error(
            f"{path}: {connection.topic} has messages of type {connection.msgtype}, and neither "
            "the bag nor this machine says what that is; source the workspace that has it"
        ) from error
    except (SerdeError, struct.error, ValueError, IndexError) as error:
        raise Dm0Error(
            f"{path}: a message of {connection.topic} is not what the bag says "
            f"{connection.msgtype} is ({error}); was msg/ edited without `make env`?"
        ) from error


def list_topics(path: Path) -> dict[str, str]:
    """Type names by topic. Raises `Dm0Error` where ``path`` is no complete bag."""
    with _open(path) as reader:
        return {connection.topic: connection.msgtype for connection in reader.connections}


def look_into(path: Path) -> Contents:
    """What a bag says of itself. Raises `Dm0Error` where ``path`` is no complete bag."""
    with _open(path) as reader:
        there = reader.message_count > 0
        custom = {}
        for one in reader.readers:
            custom |= getattr(one.storage.metadata, "custom", None) or {}
        return Contents(
            {connection.topic: connection.msgtype for connection in reader.connections},
            {topic: info.msgcount for topic, info in reader.topics.items()},
            reader.start_time / _NANOSECONDS if there else math.nan,
            (reader.end_time - 1) / _NANOSECONDS if there else math.nan,
            custom,
            tuple(custom.get(MISSING, "").splitlines()),
            {c.topic: getattr(c.ext, "offered_qos_profiles", ()) for c in reader.connections},
        )


@contextmanager
def _open(path: Path) -> Iterator[AnyReader]:
    if path.suffix == ".bag" and path.is_file():
        raise Dm0Error(f"{path}: a bag of ROS 1; convert it with 'rosbags-convert' first")
    place = salvage(path) or path
    try:
        reader = AnyReader([place], default_typestore=_default_types())
        reader.open()
    except _FAULTS as error:
        raise Dm0Error(_explain(path, error)) from error
    if isinstance(place, (SalvagedFile, SalvagedFolder)):
        _warn(path, place.missing)
    try:
        yield reader
    finally:
        reader.close()


@cache
def _warn(path: Path, missing: tuple[str, ...]) -> None:
    """Once a process: a bag is opened several times."""
    for sentence in missing:
        logging.getLogger(__name__).warning("%s: %s", path, sentence)


@cache
def _default_types() -> Typestore:
    """For bags that do not define their types, as rosbag2's SQLite ones of old."""
    return make_typestore()


def _explain(path: Path, error: Exception) -> str:
    """Why a bag does not open, and what to do."""
    if not path.exists():
        return f"{path}: not a complete bag: there is no such file or folder"
    if path.is_dir() and not (path / "metadata.yaml").exists():
        if not any(path.glob("*.mcap")) and not any(path.glob("*.db3")):
            return f"{path}: not a complete bag: a folder without metadata.yaml and recordings"
        return (
            f"{path}: not a complete bag: it has no metadata.yaml. Its recorder was ended before "
            "it wrote anything; of a bag in SQLite 'ros2 bag reindex' writes one"
        )
    files = [path] if path.is_file() else [*path.glob("*.mcap"), *path.glob("*.db3")]
    if empty := [file.name for file in files if not file.stat().st_size]:
        return f"{path}: not a complete bag: {', '.join(empty)} is empty; nothing was recorded"
    return (
        f"{path}: not a complete bag ({_say(error)}); it is truncated, of another version or "
        "another format, or its recorder was ended before it could close it"
    )


def _say(error: Exception) -> str:
    return str(error) or type(error).__name__


def _say_where(nanoseconds: int | None, reader: AnyReader) -> str:
    if nanoseconds is None:
        return "from its beginning on"
    return f"{(nanoseconds - reader.start_time) / _NANOSECONDS:.3f} s after its beginning"
