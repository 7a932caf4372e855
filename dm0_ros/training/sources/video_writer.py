# SPDX-License-Identifier: Apache-2.0
"""Pictures of many episodes into one video after another."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from dm0_ros.training.sources.sample import SourceError

# Every second frame is a key frame, as LeRobot has it: any frame is then near one.
_OPTIONS = {"g": "2", "crf": "23"}


class VideoWriter:
    """Encodes a camera's pictures; where ``limit`` bytes are exceeded, the next file is begun."""

    def __init__(
        self,
        path_of: Callable[[int], Path],
        fps: int,
        size: tuple[int, int],
        codec: str,
        limit: int,
    ) -> None:
        self.number = -1  # of the file that is being written
        self._path_of, self._fps, self._size = path_of, fps, size
        self._codec, self._limit = codec, limit
        self._container = None
        self._written = 0  # frames in this file

    def begin(self) -> float:
        """Where the next episode will begin, s from the beginning of file `number`."""
        if self._container is None or self._size_on_disk() > self._limit:
            self.close()
            self._open()
        return self._written / self._fps

    def add(self, pictures: Iterable[np.ndarray]) -> int:
        """Encode pictures (height, width, 3) uint8 RGB, one at a time; returns their number."""
        before = self._written
        for picture in pictures:
            if picture.shape != (*self._size, 3) or picture.dtype != np.uint8:
                height, width = self._size
                raise SourceError(
                    f"{self._path_of(self.number)}: a picture is {picture.dtype} "
                    f"{picture.shape}; expected uint8 ({height}, {width}, 3)"
                )
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = self._written, Fraction(1, self._fps)
            self._container.mux(self._stream.encode(frame))
            self._written += 1
        return self._written - before

    def close(self) -> None:
        """Finish the file."""
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None

    def _size_on_disk(self) -> int:
        path = self._path_of(self.number)  # which a codec that looks ahead may not have begun
        return path.stat().st_size if path.exists() else 0

    def _open(self) -> None:
        self.number += 1
        path = self._path_of(self.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._written = 0
        container = av.open(str(path), "w")
        try:
            self._stream = container.add_stream(self._codec, rate=self._fps, options=_OPTIONS)
        except ValueError as cause:
            container.close()
            message = f"{path}: the codec '{self._codec}' is unknown here; take h264"
            raise SourceError(message) from cause
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = Fraction(1, self._fps)
        self._container = container
