# SPDX-License-Identifier: Apache-2.0
"""rosbags' reader of MCAP with an index that is small in memory.

A bag of 100 GB has a hundred thousand chunks, and a million where they compress well. rosbags
keeps 3.5 kB of each, and one generator of each while messages are read.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Collection, Iterator

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import reader
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader, Msg, msgsrc

_NUMBERS = 7  # of a row: five of the chunk's, its kind, and the place of its counts


class ChunkTable:
    """Stands for rosbags' list of chunks, in 56 bytes of each and 4 of each of its channels.

    Where messages are in a chunk is dropped: nobody asks for it again.
    """

    def __init__(self) -> None:
        self._rows, self._counts = array("Q"), array("I")
        # by compression and channels
        self._places: dict[tuple, int] = {}
        self._kinds: list[tuple[str, tuple[int, ...]]] = []

    def append(self, chunk: ChunkInfo) -> None:
        """One more."""
        kind = chunk.compression, tuple(sorted(chunk.channel_count))
        if kind not in self._places:
            self._places[kind] = len(self._kinds)
            self._kinds.append(kind)
        times = chunk.message_start_time, chunk.message_end_time
        sizes = chunk.compressed_size, chunk.uncompressed_size
        marks = self._places[kind], len(self._counts)
        self._rows.extend((*times, chunk.chunk_start_offset, *sizes, *marks))
        self._counts.extend(chunk.channel_count[channel] for channel in kind[1])

    def clear(self) -> None:
        """Forget all."""
        self.__init__()

    def __len__(self) -> int:
        return len(self._rows) // _NUMBERS

    def __getitem__(self, place: int) -> ChunkInfo:
        if not 0 <= place < len(self):
            raise IndexError(f"chunk {place} of {len(self)}")
        row = self._rows[place * _NUMBERS : (place + 1) * _NUMBERS]
        first, last, offset, packed, size, kind, begin = row
        compression, channels = self._kinds[kind]
        counts = dict(zip(channels, self._counts[begin : begin + len(channels)], strict=True))
        return ChunkInfo(first, last, offset, 0, {}, 0, compression, packed, size, counts)

    def find(self, channels: Collection[int], start: int | None, stop: int | None) -> np.ndarray:
        """Places of chunks with messages of some channels from ``start`` to before ``stop`` (ns),
        by the time of their first message."""
        rows = np.frombuffer(self._rows, np.uint64).reshape(-1, _NUMBERS)
        holds = np.array([not set(channels).isdisjoint(there) for _, there in self._kinds])
        chosen = holds[rows[:, 5]]
        if start is not None:
            chosen &= rows[:, 1] >= start
        if stop is not None:
            chosen &= rows[:, 0] < stop
        places = np.flatnonzero(chosen)
        return places[np.argsort(rows[places, 0], kind="stable")].astype(np.uint32)


class SmallReader(McapReader):
    """Gives the messages that rosbags' own reader gives, in the same order."""

    def __init__(self, path) -> None:
        super().__init__(path)
        self.chunks = ChunkTable()

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Those of ``connections`` from ``start`` to before ``stop``, ns since 1970."""
        if not len(self.chunks):
            yield from super().messages(connections, start, stop)
            return
        channels = {connection.id: connection for connection in connections}
        limits = 0 if start is None else start, 2**63 if stop is None else stop
        waiting = iter(self.chunks.find(channels.keys(), start, stop))
        coming = next(waiting, None)
        heap: list[tuple[Msg, Iterator[Msg]]] = []  # of chunks in which the next message may be
        while heap or coming is not None:
            while coming is not None:
                chunk = self.chunks[coming]
                if heap and chunk.message_start_time > heap[0][0].timestamp:
                    break
                source = msgsrc(chunk, channels, *limits, self.bio)
                next(source)  # says when the chunk begins
                if (first := next(source, None)) is not None:
                    heapq.heappush(heap, (first, source))
                coming = next(waiting, None)
            if heap:
                message, source = heap[0]
                yield message.connection, message.timestamp, message.data
                if (following := next(source, None)) is None:
                    heapq.heappop(heap)
                else:
                    heapq.heapreplace(heap, (following, source))


def use_small_index() -> None:
    """Let rosbags read MCAP this way, in this process."""
    reader.DirectoryReader.STORAGE_PLUGINS = {
        **reader.DirectoryReader.STORAGE_PLUGINS,
        "mcap": SmallReader,
    }
    reader.Reader.STORAGE_PLUGINS = {**reader.Reader.STORAGE_PLUGINS, ".mcap": SmallReader}
