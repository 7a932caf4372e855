# SPDX-License-Identifier: Apache-2.0
"""MCAP files that nobody closed: what is whole in them, and the index that they lack.

Layout of the records: https://mcap.dev/spec. A file that a recorder left behind when it died is a
sequence of whole records, of which the last may be cut.
"""

import io
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import zstandard
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Message,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
)
from mcap.stream_reader import breakup_chunk

MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")  # of a record: opcode, length of its content
_CHUNK = struct.Struct(
    "<QQQII"
)  # first and last time, size, CRC, length of the compression's name
_OPCODES = frozenset(int(opcode) for opcode in Opcode)
# What a reader raises for bytes that are no MCAP.
FAULTS = (McapError, zstandard.ZstdError, struct.error, ValueError, KeyError, EOFError)


@dataclass
class Scan:
    """What is whole in a file. Times are nanoseconds since 1970."""

    path: Path
    size: int  # bytes of the file
    end: int = 0  # bytes of it that are whole
    finished: bool = False
    tail: bytes = b""  # what has to follow them
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)  # messages by channel
    chunks: list[ChunkIndex] = field(default_factory=list)
    records: list[Metadata] = field(default_factory=list)
    places: list[MetadataIndex] = field(default_factory=list)  # of these records
    opened: set[int] = field(default_factory=set)  # offsets of chunks that were looked into

    @property
    def begin(self) -> int:
        """Of the first message; 0 where there is none."""
        return min((chunk.message_start_time for chunk in self.chunks), default=0)

    @property
    def last(self) -> int:
        """Of the last message; 0 where there is none."""
        return max((chunk.message_end_time for chunk in self.chunks), default=0)


def is_unfinished(path: Path) -> bool:
    """Whether a file begins as MCAP does, or has only begun to, and does not end so."""
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
        if not MAGIC.startswith(head):
            return False
        size = path.stat().st_size
        file.seek(max(0, size - len(MAGIC)))
        return size < 2 * len(MAGIC) or file.read() != MAGIC


def scan(path: Path) -> Scan:
    """What is whole in an MCAP file; reads little but the heads of its records."""
    found = Scan(path, path.stat().st_size, len(MAGIC), not is_unfinished(path))
    with path.open("rb") as file:
        for opcode, place, length in _walk(file, found.size):
            if opcode == Opcode.DATA_END:
                break
            if opcode == Opcode.CHUNK:
                _check_last(file, found)
                found.chunks.append(_read_head(file, place, length))
            elif opcode == Opcode.MESSAGE_INDEX:
                _note_index(file, found, place, length)
            else:
                _note_record(file, found, opcode, place, length)
            found.end = place + _HEAD.size + length
        _mend_last(file, found)
    found.tail = _make_tail(found)
    return found


def _walk(file: io.BufferedReader, size: int) -> Iterator[tuple[int, int, int]]:
    """Opcode, place and length of each whole record."""
    place = len(MAGIC)
    while place + _HEAD.size <= size:
        file.seek(place)
        opcode, length = _HEAD.unpack(file.read(_HEAD.size))
        if opcode not in _OPCODES or place + _HEAD.size + length > size:
            return
        yield opcode, place, length
        place += _HEAD.size + length


def _read_head(file: io.BufferedReader, place: int, length: int) -> ChunkIndex:
    first, last, size, _crc, named = _CHUNK.unpack(file.read(_CHUNK.size))
    name = file.read(named).decode()
    (compressed,) = struct.unpack("<Q", file.read(8))
    return ChunkIndex(
        chunk_start_offset=place,
        chunk_length=_HEAD.size + length,
        message_start_time=first,
        message_end_time=last,
        message_index_offsets={},
        message_index_length=0,
        compression=name,
        compressed_size=compressed,
        uncompressed_size=size,
    )


def _note_index(file: io.BufferedReader, found: Scan, place: int, length: int) -> None:
    """The index of one channel's messages in the chunk before it."""
    if not found.chunks:
        return
    channel, size = struct.unpack("<HI", file.read(6))
    chunk = found.chunks[-1]
    chunk.message_index_offsets[channel] = place
    chunk.message_index_length += _HEAD.size + length
    found.counts[channel] += size // 16  # a time and a place each


def _note_record(
    file: io.BufferedReader, found: Scan, opcode: int, place: int, length: int
) -> None:
    content = ReadDataStream(io.BytesIO(file.read(length)))
    if opcode == Opcode.SCHEMA:
        schema = Schema.read(content)
        found.schemas[schema.id] = schema
    elif opcode == Opcode.CHANNEL:
        channel = Channel.read(content)
        found.channels[channel.id] = channel
    elif opcode == Opcode.METADATA:
        record = Metadata.read(content)
        found.records.append(record)
        found.places.append(MetadataIndex(place, _HEAD.size + length, record.name))


def _check_last(file: io.BufferedReader, found: Scan) -> None:
    """Learn what the newest chunk's messages are: it says so, or one before it does."""
    place = file.tell()
    for chunk in reversed(found.chunks):
        if _knows(found, found.chunks[-1]):
            break
        if chunk.chunk_start_offset not in found.opened:
            _open_chunk(file, found, chunk)
    file.seek(place)


def _knows(found: Scan, chunk: ChunkIndex) -> bool:
    """Whether the channels of a chunk's messages, and their schemas, have been seen."""
    channels = [found.channels.get(number) for number in chunk.message_index_offsets]
    return all(c is not None and c.schema_id in {0, *found.schemas} for c in channels)


def _open_chunk(file: io.BufferedReader, found: Scan, chunk: ChunkIndex) -> bytes:
    """The records in a chunk; its schemas and channels are noted."""
    found.opened.add(chunk.chunk_start_offset)
    file.seek(chunk.chunk_start_offset + _HEAD.size)
    content = file.read(chunk.chunk_length - _HEAD.size)
    whole = Chunk.read(ReadDataStream(io.BytesIO(content)))
    for record in breakup_chunk(whole, validate_crc=True):
        if isinstance(record, Schema):
            found.schemas[record.id] = record
        elif isinstance(record, Channel):
            found.channels[record.id] = record
    if whole.compression != "zstd":
        return whole.data
    return zstandard.decompress(whole.data, whole.uncompressed_size)


def _mend_last(file: io.BufferedReader, found: Scan) -> None:
    """The last chunk's own index may be cut: it is made again. A damaged chunk is left out."""
    if not found.chunks or found.finished:
        _check_last(file, found)
        return
    last = found.chunks[-1]
    file.seek(last.chunk_start_offset + last.chunk_length)
    for place in last.message_index_offsets.values():
        file.seek(place + _HEAD.size)
        channel, size = struct.unpack("<HI", file.read(6))
        found.counts[channel] -= size // 16
    last.message_index_offsets.clear()
    last.message_index_length = 0
    kept = [place for place in found.places if place.offset < last.chunk_start_offset]
    try:
        data = _open_chunk(file, found, last)
    except FAULTS:
        found.chunks.pop()
        found.end = last.chunk_start_offset
    else:
        found.end = last.chunk_start_offset + last.chunk_length
        found.tail = _make_index(found, last, data)
        _check_last(file, found)
    found.places = kept  # what they say stays known


def _make_index(found: Scan, chunk: ChunkIndex, data: bytes) -> bytes:
    """The message indexes that follow a chunk of these records."""
    indexes: dict[int, MessageIndex] = {}
    place = 0
    while place < len(data):
        opcode, length = _HEAD.unpack_from(data, place)
        if opcode == Opcode.MESSAGE:
            content = data[place + _HEAD.size : place + _HEAD.size + length]
            message = Message.read(ReadDataStream(io.BytesIO(content)), length)
            index = indexes.setdefault(message.channel_id, MessageIndex(message.channel_id, []))
            index.records.append((message.log_time, place))
        place += _HEAD.size + length
    builder = RecordBuilder()
    for channel, index in indexes.items():
        chunk.message_index_offsets[channel] = found.end + builder.count
        index.write(builder)
        found.counts[channel] += len(index.records)
    chunk.message_index_length = builder.count
    return builder.end()


def _make_tail(found: Scan) -> bytes:
    """What follows the whole records: index, summary, footer."""
    builder = RecordBuilder()
    DataEnd(0).write(builder)
    summary = found.end + len(found.tail) + builder.count
    for group in (found.schemas.values(), found.channels.values()):
        for record in group:
            record.write(builder)
    for record in (*found.chunks, *found.places):
        record.write(builder)
    Statistics(
        attachment_count=0,
        channel_count=len(found.channels),
        channel_message_counts=dict(found.counts),
        chunk_count=len(found.chunks),
        message_count=found.counts.total(),
        message_start_time=found.begin,
        message_end_time=found.last,
        metadata_count=len(found.places),
        schema_count=len(found.schemas),
    ).write(builder)
    Footer(summary_start=summary, summary_offset_start=0, summary_crc=0).write(builder)
    return found.tail + builder.end() + MAGIC


def finish(path: Path) -> Scan:
    """Close a file in place: what is cut goes, the index comes. Raises `OSError` with the file
    whole but without an index, where the disk is full.
    """
    found = scan(path)
    if found.finished:
        return found
    with path.open("r+b", buffering=0) as file:
        file.truncate(found.end)
        file.seek(found.end)
        left = memoryview(found.tail)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(found.end)
            raise
    return found
