# SPDX-License-Identifier: Apache-2.0
"""Bags whose recorder died: read as they would have been had it closed them, or repaired.

Reading leaves the files as they are: each gets its index, and the folder its metadata, in memory.
"""

import io
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from dm0_ros.errors import Dm0Error
from dm0_ros.replay import metadata
from dm0_ros.replay.metadata import Part, Topic
from dm0_ros.replay.unfinished import FAULTS, Scan, finish, is_unfinished, scan


class _Spliced(io.RawIOBase):
    """The first bytes of a file, and others behind them."""

    def __init__(self, path: Path, end: int, tail: bytes) -> None:
        self._file, self._end, self._tail = path.open("rb"), end, tail
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = self._end + len(self._tail)
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer) -> int:
        if self._place < self._end:
            self._file.seek(self._place)
            data = self._file.read(min(len(buffer), self._end - self._place))
        else:
            begin = self._place - self._end
            data = self._tail[begin : begin + len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True)
class SalvagedFile:
    """Looks like a path to rosbags (its protocol RPath), and reads like a closed file."""

    path: Path
    end: int
    tail: bytes
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def suffix(self) -> str:
        return self.path.suffix

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return False

    def open(self, *_mode) -> io.BufferedReader:
        return io.BufferedReader(_Spliced(self.path, self.end, self.tail))


@dataclass(frozen=True)
class _Text:
    """A file that is not on the disk."""

    text: str

    def exists(self) -> bool:
        return True

    def read_text(self, *_encoding) -> str:
        return self.text


@dataclass(frozen=True)
class SalvagedFolder:
    """The same for a folder."""

    path: Path
    files: dict[str, SalvagedFile]
    metadata: str
    missing: tuple[str, ...]

    @property
    def suffix(self) -> str:
        return ""

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return True

    def __truediv__(self, name) -> SalvagedFile | _Text:
        return _Text(self.metadata) if str(name) == metadata.NAME else self.files[str(name)]


def salvage(path: Path) -> SalvagedFile | SalvagedFolder | None:
    """A bag as if it had been closed; None where that is not what is wrong with it.

    Raises `Dm0Error` where nothing is left to be read.
    """
    try:
        if path.is_file():
            if path.suffix != ".mcap" or not is_unfinished(path):
                return None
            return _salvage_file(scan(path))
        parts = sorted(path.glob("*.mcap")) if path.is_dir() else []
        if not parts or _is_whole(path, parts):
            return None
        return _salvage_folder(path, [scan(part) for part in parts])
    except (OSError, *FAULTS):
        return None


def _salvage_file(found: Scan) -> SalvagedFile | None:
    sentences = tuple(_say_missing(found))
    return SalvagedFile(found.path, found.end, found.tail, sentences) if found.chunks else None


def _is_whole(path: Path, parts: list[Path]) -> bool:
    """Whether a bag is as its recorder left it when it closed it, or has other troubles."""
    if not (path / metadata.NAME).exists():
        return False
    said = metadata.read_metadata(path / metadata.NAME)
    if said is None:
        return True
    return set(said[0]) == {part.name for part in parts} and not any(map(is_unfinished, parts))


def _salvage_folder(path: Path, scans: list[Scan]) -> SalvagedFolder | None:
    listed, custom = metadata.read_metadata(path / metadata.NAME) or ([], {})
    there = {found.path.name for found in scans}
    missing = [f"{name} is not there any more" for name in listed if name not in there]
    missing += [sentence for found in scans for sentence in _say_missing(found)]
    if not (path / metadata.NAME).exists():
        missing.append(f"{path.name} has no {metadata.NAME}; one was made from the recordings")
    scans = sorted((found for found in scans if found.chunks), key=lambda found: found.begin)
    if not scans:
        return None
    files = {
        found.path.name: SalvagedFile(
            found.path,
            found.size if found.finished else found.end,
            b"" if found.finished else found.tail,
        )
        for found in scans
    }
    text = _describe(scans, custom, missing)
    return SalvagedFolder(path, files, text, tuple(missing))


def _say_missing(found: Scan) -> list[str]:
    if found.finished:
        return []
    if not found.chunks:
        return [f"{found.path.name} has no message; its recorder had only begun it"]
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(found.last / 1e9))
    return [
        f"{found.path.name} was not closed: its recorder died, its disk was full, or it was cut. "
        f"Messages up to {moment}.{found.last // 10**6 % 1000:03d} UTC are there; "
        f"the {found.size - found.end} bytes behind them cannot be read"
    ]


def _describe(scans: list[Scan], custom: dict[str, str], missing: list[str]) -> str:
    for found in scans:
        for record in found.records:
            if record.name == metadata.FACTS:
                custom |= record.metadata
    said = custom.get(metadata.MISSING, "").splitlines()
    custom[metadata.MISSING] = "\n".join(dict.fromkeys([*said, *missing]))
    topics: dict[str, Topic] = {}
    for found in scans:
        for channel in found.channels.values():
            topics.setdefault(channel.topic, _read_topic(found, channel))
    return metadata.dump_metadata(list(topics.values()), [*map(read_part, scans)], custom)


def _read_topic(found: Scan, channel) -> Topic:
    qualities = yaml.safe_load(channel.metadata.get("offered_qos_profiles", "")) or []
    schema = found.schemas[channel.schema_id]
    return Topic(
        channel.topic, schema.name, qualities, channel.metadata.get("topic_type_hash", "")
    )


def read_part(found: Scan) -> Part:
    """What is in a file, for metadata.yaml."""
    part = Part(found.path.name, begin=found.begin, last=found.last)
    for number, count in found.counts.items():
        topic = found.channels[number].topic
        part.counts[topic] = part.counts.get(topic, 0) + count
    return part


def repair(path: Path) -> tuple[str, ...]:
    """Close the bag at ``path`` in place; returns what is missing, nothing where it was closed.

    Raises `Dm0Error` where there is no recording in it, or no room for the index.
    """
    found = salvage(path)
    if found is None:
        parts = sorted(path.glob("*.mcap")) if path.is_dir() else []
        if parts and _is_whole(path, parts):
            return ()
        raise Dm0Error(f"{path}: there is no recording in it that could be repaired")
    files = [found.path] if isinstance(found, SalvagedFile) else list(found.files.values())
    try:
        for file in files:
            finish(getattr(file, "path", file))
        if isinstance(found, SalvagedFolder):
            replace_text(path / metadata.NAME, found.metadata)
    except OSError as error:
        raise Dm0Error(f"{path}: cannot be repaired: {error.strerror}; make room") from error
    return found.missing


def replace_text(path: Path, text: str) -> None:
    """Write a file such that it is always either the old or the new one."""
    draft = path.with_suffix(".part.yaml")
    try:
        draft.write_text(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
