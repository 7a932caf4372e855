# SPDX-License-Identifier: Apache-2.0
"""The episodes of one bag, each checked and put into a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dm0_ros.datasets.cutting import Cutter, Rows, UnusableError
from dm0_ros.datasets.settings import Cut
from dm0_ros.datasets.spans import Span, find_spans
from dm0_ros.datasets.walking import Gathered, Walk
from dm0_ros.errors import Dm0Error
from dm0_ros.policy.decoding import decode_compressed, decode_image
from dm0_ros.replay.bag import RawMessage, read_raw
from dm0_ros.replay.layout import Layout, find_layout
from dm0_ros.training.sources.stored import store_episode

_KINDS = {
    "image_raw": "sensor_msgs/msg/Image",
    "compressed": "sensor_msgs/msg/CompressedImage",
}
_SENT_AS = (b"\xff\xd8", b"\x89P")  # how files of JPEG and PNG begin
_ROUNDING = 1e-6  # s: seconds since 1970 in a float64 are 0.24 microseconds apart
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


@dataclass(frozen=True)
class Staged:
    """An episode that is ready."""

    file: Path
    span: Span
    frames: int
    sizes: dict[str, tuple[int, int]]  # height, width of the pictures by slot
    facts: dict[str, Any]  # for the dataset's metadata


@dataclass
class BagReport:
    """What came of a bag."""

    bag: str
    staged: list[Staged] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)  # title, why
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def stage_bag(path: Path, cut: Cut, folder: Path) -> BagReport:
    """Put the episodes of a bag into ``folder``, which is made.

    What cannot be used is in the report. Raises `Dm0Error` where ``path`` is no bag, or nothing
    says what its episodes are.
    """
    layout = find_layout(path, cut.namespace)
    report = BagReport(str(path), facts=_read_facts(layout))
    report.notes += layout.contents.missing
    spans = find_spans(layout, cut.instruction)
    whole = [span for span in spans if span.end is not None]
    cuts = [(s.title, "the recording ended within it") for s in spans if s.end is None]
    report.left_out += cuts
    cameras, missing = _find_cameras(layout, cut)
    if missing:
        why = f"the bag has no pictures of camera '{missing[0]}'; name those to keep by --cameras"
        report.left_out += [(span.title, why) for span in whole]
        return report
    folder.mkdir(parents=True)
    cutter = Cutter(cut, {topic: slot for topic, (slot, _) in cameras.items()})
    walk = Walk(layout, cut.robot, tuple(cameras))
    stage = partial(_stage, layout, cutter, cut, cameras, folder)
    _collect(walk.gather(whole), whole, stage, report)
    return report


def _collect(
    gathered: Iterator[Gathered], spans: list[Span], stage: Callable, report: BagReport
) -> None:
    """Stage episode after episode; where the bag breaks, those that are left are left out."""
    seen = set()
    try:
        for episode in gathered:
            seen.add(episode.span)
            try:
                report.staged.append(stage(episode, len(report.staged)))
            except UnusableError as error:
                report.left_out.append((episode.span.title, str(error)))
    except Dm0Error as error:
        rest = [span for span in spans if span not in seen]
        report.left_out += [(span.title, str(error)) for span in rest]


def _find_cameras(layout: Layout, cut: Cut) -> tuple[dict[str, tuple[str, Callable]], list[str]]:
    """By recorded topic: slot, and what makes a file of a message; and the slots without any."""
    found, missing = {}, []
    facts = layout.read_facts()
    for slot in cut.slots:
        kinds = sorted(_KINDS, reverse=facts is None or not facts.compressed)
        names = {kind: layout.name(f"camera/{slot}/{kind}") for kind in kinds}
        there = [k for k, name in names.items() if layout.contents.counts.get(name)]
        there = [k for k in there if layout.contents.topics[names[k]] == _KINDS[k]]
        if not there:
            missing.append(slot)
            continue
        encode = _encode_raw if there[0] == "image_raw" else _keep_encoded
        found[names[there[0]]] = slot, encode
    return found, missing


def _stage(
    layout: Layout, cutter: Cutter, cut: Cut, cameras, folder: Path, gathered: Gathered, number
) -> Staged:
    rows = cutter.cut(gathered)
    path = folder / f"{number:06d}.zip"
    sizes: dict[str, tuple[int, int]] = {}
    stamps = {topic: np.unique(picked) for topic, picked in rows.pictures.items()}
    shown = {
        cameras[topic][0]: np.searchsorted(stamps[topic], picked)
        for topic, picked in rows.pictures.items()
    }
    columns = cut.columns
    numbers = {
        "times": rows.times,
        "states": columns.to_data(rows.states),
        "actions": columns.to_data(rows.actions),
    }
    pictures = _read_pictures(layout, gathered, cameras, stamps, sizes)
    try:
        store_episode(path, numbers, pictures, shown)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Staged(path, gathered.span, len(rows.times), sizes, _describe(gathered, rows))


def _describe(gathered: Gathered, rows: Rows) -> dict[str, Any]:
    span = gathered.span
    return {
        "mark": span.mark,
        "instruction": span.instruction,
        "outcome": span.outcome,
        "begin": float(rows.times[0]),
        "end": float(rows.times[-1]),
        "frames": len(rows.times),
        "waited": round(rows.waited, 4),
        "oldest_picture": {slot: round(age, 4) for slot, age in rows.oldest.items()},
    }


def _read_pictures(
    layout: Layout, gathered: Gathered, cameras, stamps: dict[str, np.ndarray], sizes: dict
) -> Iterator[tuple[str, int, bytes]]:
    """Slot, number and file of the pictures that are needed, one at a time."""
    wanted = {
        (topic, stamp): number
        for topic, values in stamps.items()
        for number, stamp in enumerate(values)
    }
    part = gathered.begin - _ROUNDING, gathered.end + _ROUNDING
    for message in read_raw(layout.path, list(cameras), *part):
        number = wanted.pop((message.topic, message.stamp), None)
        if number is None:
            continue
        slot, encode = cameras[message.topic]
        try:
            data, size = encode(message)
        except Dm0Error as error:
            where = message.stamp - gathered.span.begin
            raise UnusableError(f"the picture at {where:.3f} s: {error}") from error
        if sizes.setdefault(slot, size) != size:
            raise UnusableError(f"pictures of camera '{slot}' are {sizes[slot]}, and then {size}")
        yield slot, number, data
    if wanted:
        raise UnusableError(f"{len(wanted)} of its pictures are not found again in the bag")


def _encode_raw(message: RawMessage) -> tuple[bytes, tuple[int, int]]:
    """A raw picture as PNG, which loses nothing."""
    picture = decode_image(message.read(), message.topic)
    return _to_png(picture), picture.shape[:2]


def _keep_encoded(message: RawMessage) -> tuple[bytes, tuple[int, int]]:
    """A compressed picture as it was sent, if it can be decoded."""
    content = message.read()
    picture = decode_compressed(content, message.topic)
    data = bytes(content.data)
    return (data if data[:2] in _SENT_AS else _to_png(picture)), picture.shape[:2]


def _to_png(picture: np.ndarray) -> bytes:
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _PNG)
    return data.tobytes()


def _read_facts(layout: Layout) -> dict[str, Any]:
    """Where a bag comes from, as far as it says."""
    contents, facts = layout.contents, layout.read_facts()
    known = {
        "path": str(layout.path),
        "seconds": round(contents.end - contents.begin, 3),
        "robot": contents.custom.get("dm0_ros.robot", ""),
        "commit": contents.custom.get("dm0_ros.commit", ""),
        "checkpoint": contents.custom.get("dm0_ros.checkpoint", ""),
        "checkpoint_sha256": contents.custom.get("dm0_ros.checkpoint_sha256", ""),
        "robot_digest": "",
    }
    if facts is not None:
        known |= {
            "robot": facts.robot,
            "robot_digest": facts.robot_digest,
            "commit": facts.commit,
            "checkpoint": facts.checkpoint,
            "checkpoint_sha256": facts.checkpoint_digest,
        }
    return known
