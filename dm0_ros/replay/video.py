# SPDX-License-Identifier: Apache-2.0
"""A film of a bag's pictures: MP4 where OpenCV can write one, else an animated WebP."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.pictures import Frame

# Browsers play VP9; mp4v plays in most programs but in no browser. Neither needs a licence.
_CODECS = ("vp09", "mp4v")
_EARLY = 0.01  # of a period: a picture that is due counts although stamps were rounded
_CAPTION_HEIGHT = 28  # pixels
_FONT, _FONT_SIZE, _INK = cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255)


def write_video(
    path: Path, frames: Iterable[Frame], rate: float, caption: Callable[[float], str | None]
) -> Path:
    """Write a film in real time at ``rate`` pictures a second; returns the file that was written.

    ``caption`` gives the line under the picture at a moment (s since 1970), or None to leave the
    moment out. The suffix of ``path`` becomes .mp4 or .webp. Raises `Dm0Error` where no picture
    is left.
    """
    pictures = _draw(_resample(frames, rate, caption))
    first = next(pictures, None)
    if first is None:
        raise Dm0Error(f"{path}: no pictures to make a film of; were they recorded?")
    height, width, _ = first.shape
    target = path.with_suffix(".mp4")
    writer = _open_writer(target, rate, (width, height))
    if writer is None:
        return _write_webp(path.with_suffix(".webp"), [first, *pictures], rate)
    writer.write(cv2.cvtColor(first, cv2.COLOR_RGB2BGR))
    for picture in pictures:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return target


def _resample(
    frames: Iterable[Frame], rate: float, caption: Callable[[float], str | None]
) -> Iterator[tuple[np.ndarray, str]]:
    """``rate`` pictures for each second under one caption; the last is repeated if one is late."""
    line, begin, count, previous = None, 0.0, 0, None
    for frame in frames:
        before, line = line, caption(frame.time)
        if line is None:
            continue
        if line != before:
            begin, count, previous = frame.time, 0, frame.picture
        due = int((frame.time - begin) * rate + _EARLY) + 1  # pictures up to this moment
        for _ in range(count, due - 1):
            yield previous, line
        if due > count:
            yield frame.picture, line
        count, previous = due, frame.picture


def _draw(captioned: Iterable[tuple[np.ndarray, str]]) -> Iterator[np.ndarray]:
    for picture, line in captioned:
        # codecs want even sizes
        height, width = (side - side % 2 for side in picture.shape[:2])
        canvas = np.zeros((height + _CAPTION_HEIGHT, width, 3), np.uint8)
        canvas[:height] = picture[:height, :width]
        place = (6, height + 19)
        cv2.putText(canvas, line, place, _FONT, _FONT_SIZE, _INK, 1, cv2.LINE_AA)
        yield canvas


def _open_writer(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter | None:
    for codec in _CODECS:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
        if writer.isOpened():
            return writer
        path.unlink(missing_ok=True)
    return None


def _write_webp(path: Path, pictures: list[np.ndarray], rate: float) -> Path:
    first, *others = [Image.fromarray(picture) for picture in pictures]
    first.save(path, save_all=True, append_images=others, duration=round(1000 / rate), loop=0)
    return path
