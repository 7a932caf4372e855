# SPDX-License-Identifier: Apache-2.0
"""The robot's cameras in rerun: pictures, the plan's way in them, and what the scaffold marks."""

import io
import math

import numpy as np
from PIL import Image, UnidentifiedImageError

from dm0_ros.policy.protocol import Plan
from dm0_ros.robots.cameras import find_still
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.scaffold.drawing import BOX_COLOUR, PATH_COLOUR, horizon_colours
from dm0_ros.scaffold.sketch import Sketch
from dm0_ros.viewing.log import Log
from dm0_ros.viewing.plans import end_of

_SCAFFOLD_LIFE = 10.0  # s after its picture that a scaffold is shown, unless another comes


class Views:
    """Shows pictures, and over them the newest plan and scaffold."""

    def __init__(self, spec: RobotSpec, root: str, log: Log) -> None:
        """``root`` of the robot's URDF is the frame that plans' paths are in."""
        self._log = log
        self._projections = find_still(spec, root)
        self._sizes: dict[str, tuple[int, int]] = {}  # pixels of a slot's pictures
        self._plan: Plan | None = None
        self._paths = np.empty((0, 0, 3))
        self._sketch: Sketch | None = None
        self._sketched = -math.inf  # s: stamp of the picture that the scaffold is about
        self._cleared = -math.inf  # s: since when nothing of older scaffolds is shown

    def follow(self, plan: Plan, paths: np.ndarray) -> None:
        """From now on show where this plan takes the tools, ``paths`` (A, H, 3) m."""
        self._plan, self._paths = plan, paths

    def show(self, slot: str, moment: float, data: bytes) -> None:
        """A JPEG or PNG of a camera, and over it the way that the plan still has to go."""
        try:
            header = Image.open(io.BytesIO(data))
        except UnidentifiedImageError:
            self._log.write(moment, f"camera {slot}: what came is no picture", "WARN")
            return
        self._sizes[slot] = header.size
        kind = header.get_format_mimetype()
        picture = self._log.rerun.EncodedImage(contents=data, media_type=kind)
        self._log.tell(f"camera/{slot}", moment, picture)
        if self._sketch is not None and moment - self._sketched > _SCAFFOLD_LIFE:
            self.forget_scaffold(moment)
        if slot in self._projections and self._plan is not None:
            self._show_plan(slot, moment)

    def _show_plan(self, slot: str, moment: float) -> None:
        pieces, colours = [], []
        if moment < end_of(self._plan):
            due = max(0, int((moment - self._plan.start) / self._plan.step))
            projection = self._projections[slot]
            scale = self._sizes[slot][0] / projection.width
            for path in self._paths[:, due:]:
                pixels = projection.project(path) * scale
                strips = np.stack([pixels[:-1], pixels[1:]], axis=1)  # (H - 1, 2, 2)
                seen = np.isfinite(strips).all(axis=(1, 2))
                pieces += list(strips[seen])
                colours += list(horizon_colours(len(strips))[seen].astype(np.uint8))
        lines = self._log.rerun.LineStrips2D(pieces, colors=colours, radii=[1.5])
        self._log.tell(f"camera/{slot}/plan", moment, lines)

    def sketch(self, sketch: Sketch, moment: float) -> None:
        """What a scaffold marks, at the moment of its picture; of a refused one nothing."""
        moment = max(moment, self._cleared)
        self.forget_scaffold(moment)
        if sketch.refusal:
            return
        self._sketch, self._sketched = sketch, moment
        place, rerun = f"camera/{sketch.view}/scaffold", self._log.rerun
        sketch = sketch.scale_to(*self._sizes.get(sketch.view, (sketch.width, sketch.height)))
        if sketch.box is not None:
            goal = rerun.Boxes2D(
                array=[sketch.box],
                array_format=rerun.Box2DFormat.XYXY,
                colors=[BOX_COLOUR],
                radii=[1.5],
            )
            self._log.tell(f"{place}/goal", moment, goal)
        if sketch.paths:
            lines = rerun.LineStrips2D(sketch.paths, colors=[PATH_COLOUR], radii=[1.5])
            self._log.tell(f"{place}/path", moment, lines)
            dots = rerun.Points2D(np.concatenate(sketch.paths), colors=[PATH_COLOUR], radii=[3.0])
            self._log.tell(f"{place}/points", moment, dots)

    def forget_plan(self, moment: float) -> None:
        """What the newest plan wanted is void."""
        self._plan = None
        for slot in self._projections:
            self._log.clear(f"camera/{slot}/plan", moment)

    def forget_scaffold(self, moment: float) -> None:
        """What the newest scaffold marks is no longer shown."""
        if self._sketch is not None:
            self._log.clear(f"camera/{self._sketch.view}/scaffold", moment)
            self._sketch, self._cleared = None, moment
