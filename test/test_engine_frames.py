# SPDX-License-Identifier: Apache-2.0
"""Frames become pixels as `policy.pictures` makes them, on either path, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dm0_ros.engine.frames import FRACTION_BITS, FramePreparer, compute_weights
from dm0_ros.errors import ObservationError
from dm0_ros.policy.pictures import PadColour, PixelScale, prepare_picture

HALF = ((0.5,) * 3, (0.5,) * 3)
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
CONTENTS = ("noise", "extremes", "white", "ramp")


def draw(content: str, count: int, height: int, width: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    shape = (count, height, width, 3)
    if content == "noise":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    if content == "extremes":  # overshoots in every direction
        return (255 * generator.integers(0, 2, shape)).astype(np.uint8)
    if content == "white":
        return np.full(shape, 255, np.uint8)
    lines = np.linspace(0, 255, height)[:, None] + np.linspace(0, 255, width)
    return np.broadcast_to((lines / 2).astype(np.uint8)[..., None], shape).copy()


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.integers(1, 60),
    content=st.sampled_from(CONTENTS),
    pad=st.sampled_from([(PadColour.GREY, 127), (PadColour.BLACK, 0)]),
    scale=st.sampled_from([(PixelScale.HALF, HALF), (PixelScale.CLIP, CLIP)]),
    seed=st.integers(0, 999),
)
@example(28, 28, 28, "noise", (PadColour.GREY, 127), (PixelScale.HALF, HALF), 0)  # as they are
@example(28, 17, 28, "noise", (PadColour.GREY, 127), (PixelScale.HALF, HALF), 0)  # only padded
@example(90, 1, 60, "extremes", (PadColour.GREY, 127), (PixelScale.HALF, HALF), 0)
@example(1, 90, 60, "white", (PadColour.BLACK, 0), (PixelScale.HALF, HALF), 0)
def test_both_paths_are_exact(height, width, size, content, pad, scale, seed):
    frames = draw(content, 2, height, width, seed)
    prepare = FramePreparer(size, pad[1], *scale[1])
    expected = np.stack([prepare_picture(frame, size, pad[0], scale[0]) for frame in frames])
    given = torch.from_numpy(frames)
    for pixels in (prepare(given), prepare.gather(given)):
        assert pixels.dtype == torch.float32
        np.testing.assert_array_equal(pixels.numpy(), expected)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(336, 336, 112), (480, 640, 112), (480, 640, 728), (640, 360, 728), (1080, 1921, 112)],
)
def test_camera_sizes_are_exact(height, width, size):
    (frame,) = frames = draw("noise", 1, height, width, 1)
    prepare = FramePreparer(size, 127, *HALF)
    expected = prepare_picture(frame, size)
    np.testing.assert_array_equal(prepare.gather(torch.from_numpy(frames))[0].numpy(), expected)
    np.testing.assert_array_equal(prepare(torch.from_numpy(frames))[0].numpy(), expected)


@settings(max_examples=50, deadline=None)
@given(source=st.integers(1, 4000), target=st.integers(1, 800))
def test_a_constant_stays_itself(source, target):
    """Padded lines are never resized because of this; sums stay within 32 bits, too."""
    weights = compute_weights(source, target)
    totals = 255 * weights.sum(1) + (1 << (FRACTION_BITS - 1))
    assert set((totals >> FRACTION_BITS).tolist()) == {255}
    assert 255 * np.abs(weights).sum(1).max() < 2**31 - 2**FRACTION_BITS


def test_settings_of_precision_change_nothing():
    frames = torch.from_numpy(draw("noise", 1, 40, 30, 0))
    expected = FramePreparer(56, 127, *HALF).gather(frames)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(FramePreparer(56, 127, *HALF).gather(frames), expected)
    finally:
        torch.set_float32_matmul_precision(before)


def test_compiles_whole_and_looks_at_shapes_only():
    """What a CUDA graph needs: no value of a frame is read by the host."""
    prepare = FramePreparer(30, 127, *HALF)
    frames = torch.from_numpy(draw("noise", 2, 41, 33, 0))
    expected = prepare.gather(frames)
    compiled = torch.compile(prepare.gather, fullgraph=True, dynamic=False, backend="aot_eager")
    assert torch.equal(compiled(frames), expected)
    assert prepare(frames.to("meta")).shape == expected.shape


def test_tables_are_kept_per_size():
    prepare = FramePreparer(30, 127, *HALF)
    for _ in range(2):
        for height in (20, 40):
            prepare.gather(torch.zeros(1, height, 33, 3, dtype=torch.uint8))
    assert len(prepare._passes) == 2


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(1, 8, 8, 3),
        torch.zeros(8, 8, 3, dtype=torch.uint8),
        torch.zeros(1, 8, 8, 4, dtype=torch.uint8),
    ],
)
def test_malformed_frames_are_refused(frames):
    with pytest.raises(ObservationError, match="must be uint8"):
        FramePreparer(14, 127, *HALF)(frames)
