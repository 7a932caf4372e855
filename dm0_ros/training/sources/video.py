# SPDX-License-Identifier: Apache-2.0
"""Frames of a video by their times, decoded one after another."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dm0_ros.training.sources.sample import BrokenEpisodeError, SourceError

_FAR = 2.0  # s ahead from where on jumping to a key frame beats decoding what lies between


def read_frames(
    path: Path, times: Sequence[float], tolerance: float, name: str
) -> Iterator[np.ndarray]:
    """The frames (height, width, 3) uint8 RGB nearest to ``times``, s, which rise.

    Only one frame is held at a time. Raises `BrokenEpisodeError`, with ``name`` of the episode,
    where the file is missing or broken, or has no frame within ``tolerance`` s of a time.
    """
    with _open(path, name) as container:
        yield from _decode(container, times, tolerance, f"{name}: video {path}")


def read_numbered_frames(path: Path, numbers: Sequence[int], name: str) -> Iterator[np.ndarray]:
    """The frames of those numbers, which rise, of a video of one rate; raises as `read_frames`."""
    with _open(path, name) as container:
        stream = container.streams.video[0]
        first = float((stream.start_time or 0) * stream.time_base)
        rate = float(stream.average_rate)
        times = [first + number / rate for number in numbers]
        yield from _decode(container, times, 0.5 / rate, f"{name}: video {path}")


@contextmanager
def _open(path: Path, name: str) -> Iterator[Any]:
    try:
        import av
    except ImportError as cause:
        message = "videos need the extra 'train'; type 'pip install dm0_ros[train]'"
        raise SourceError(message) from cause
    if not path.is_file():
        raise BrokenEpisodeError(f"{name}: its video {path} is missing; fetch the data again")
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.error.FFmpegError, IndexError) as cause:
        message = f"{name}: its video {path} cannot be decoded ({cause}); fetch it again"
        raise BrokenEpisodeError(message) from cause


def _decode(
    container: Any, times: Sequence[float], tolerance: float, where: str
) -> Iterator[np.ndarray]:
    stream = container.streams.video[0]
    frames, ahead, current = None, None, None  # of what was decoded: the next and this frame
    for time in times:
        if frames is None or time - _time_of(current) > _FAR:
            container.seek(max(round((time - tolerance) / stream.time_base), 0), stream=stream)
            frames = container.decode(stream)
            current, ahead = next(frames, None), None
        while current is not None:
            ahead = ahead or next(frames, None)
            if ahead is None or abs(_time_of(ahead) - time) >= abs(_time_of(current) - time):
                break
            current, ahead = ahead, None
        if current is None or abs(_time_of(current) - time) > tolerance:
            found = "none at all" if current is None else f"{_time_of(current):.3f} s at best"
            raise BrokenEpisodeError(f"{where} has no frame at {time:.3f} s, {found}")
        yield current.to_ndarray(format="rgb24")


def _time_of(frame: Any) -> float:
    return float(frame.pts * frame.time_base)
