# SPDX-License-Identifier: Apache-2.0
"""The fast network against the eager one, which is its oracle."""

import numpy as np
import pytest
import torch
from model_samples import SMALL, small_model
from operation_tape import record_on_tape

from dm0_ros.engine.engine import Engine
from dm0_ros.engine.frames import FramePreparer
from dm0_ros.engine.options import EngineOptions
from dm0_ros.engine.request import Request
from dm0_ros.errors import Dm0Error, ObservationError
from dm0_ros.policy.pictures import prepare_picture

SIZE = SMALL.vision.image_size
HALF = (0.5, 0.5, 0.5)


class CountingPreparer(FramePreparer):
    """Counts the frames that were prepared; by tensor operations alone, as on a GPU."""

    def __init__(self):
        super().__init__(SIZE, 127, HALF, HALF)
        self.count = 0

    def __call__(self, frames):
        self.count += len(frames)
        return self.gather(frames)


def make_engine(model, capture=None, text_bucket=16, **options):
    return Engine(
        model, EngineOptions(text_bucket=text_bucket, **options), CountingPreparer(), capture
    )


def make_request(seed=0, views=2, text=7, progress=None, sizes=((SIZE, SIZE),)):
    random = np.random.default_rng(seed)
    return Request(
        frames=tuple(
            random.integers(0, 256, (*sizes[view % len(sizes)], 3), np.uint8)
            for view in range(views)
        ),
        token_ids=random.integers(1, SMALL.llm.vocab_size, text),
        noise=random.standard_normal((SMALL.chunk_size, SMALL.action_dim), np.float32),
        progress=progress,
    )


def answer_eagerly(model, request, steps=10):
    """Actions (H, D), and the progress, by `DM0.sample_actions`."""
    images = np.stack([prepare_picture(frame, SIZE) for frame in request.frames])
    ids = torch.from_numpy(request.token_ids)[None]
    progress = request.progress
    answer = model.sample_actions(
        torch.from_numpy(images)[None],
        torch.ones(1, len(images), dtype=torch.bool),
        ids,
        torch.ones_like(ids, dtype=torch.bool),
        noise=torch.from_numpy(request.noise)[None],
        steps=steps,
        progress=None if progress is None else torch.full((1, 1, 1), progress),
    )
    return (answer[0].numpy(), None) if progress is None else (answer[0][0].numpy(), answer[1])


def assert_same(result, expected, tolerance=2e-5):
    actions, progress = expected
    np.testing.assert_allclose(result.actions, actions, rtol=0, atol=tolerance)
    if progress is None:
        assert result.progress is None
    else:
        assert result.progress == pytest.approx(float(progress), abs=tolerance)


@pytest.mark.parametrize("capture", [None, record_on_tape])
@pytest.mark.parametrize(("views", "text"), [(1, 1), (2, 7), (3, 16), (2, 17)])
@pytest.mark.parametrize("steps", [1, 10])
def test_actions_are_those_of_the_eager_network(views, text, steps, capture):
    model = small_model()
    engine = make_engine(model, capture, steps=steps)
    for seed in range(3):
        request = make_request(seed, views, text)
        assert_same(engine.infer([request])[0], answer_eagerly(model, request, steps))


@pytest.mark.parametrize("capture", [None, record_on_tape])
def test_progress_is_that_of_the_eager_network(capture):
    model = small_model(progress=True)
    engine = make_engine(model, capture)
    for seed, progress in enumerate((0.0, 0.4, 1.0)):
        request = make_request(seed, progress=progress)
        assert_same(engine.infer([request])[0], answer_eagerly(model, request))


@pytest.mark.parametrize("sizes", [((30, 40),), ((40, 30), (56, 56)), ((9, 9), (80, 60))])
def test_frames_of_any_sizes_are_prepared_like_the_policy_does(sizes):
    model = small_model()
    request = make_request(views=3, sizes=sizes)
    assert_same(make_engine(model).infer([request])[0], answer_eagerly(model, request))


@pytest.mark.parametrize("bucket", [1, 4, 32])
def test_padding_the_text_changes_nothing(bucket):
    model, request = small_model(), make_request(text=9)
    result = make_engine(model, text_bucket=bucket).infer([request])[0]
    assert_same(result, answer_eagerly(model, request))


@pytest.mark.parametrize("capture", [None, record_on_tape])
def test_a_batch_of_robots_is_answered_like_each_alone(capture):
    model = small_model()
    engine = make_engine(model, capture)
    for first in (0, 10):
        requests = [make_request(first + n, text=3 + 6 * n) for n in range(4)]
        for request, result in zip(requests, engine.infer(requests), strict=True):
            assert_same(result, answer_eagerly(model, request))


@pytest.mark.parametrize("capture", [None, record_on_tape])
@pytest.mark.parametrize("changed", [0, 1, 2, 3])
def test_leading_views_that_did_not_change_are_not_computed_again(changed, capture):
    model, first = small_model(), make_request(seed=1, views=3)
    engine = make_engine(model, capture)
    engine.warm_up([(SIZE, SIZE)] * 3, [7, 12])
    engine.infer([first])
    other = make_request(seed=2, views=3, text=12)
    frames = first.frames[:changed] + other.frames[changed : changed + 1]
    frames += first.frames[changed + 1 :]
    second = Request(frames, other.token_ids, other.noise)
    preparer = engine._stages._preparer
    before = preparer.count
    assert_same(engine.infer([second])[0], answer_eagerly(model, second))
    if capture is None:
        assert preparer.count - before == 3 - changed
    else:
        assert preparer.count == before  # the tape runs, not the Python function


@pytest.mark.parametrize("capture", [None, record_on_tape])
def test_prefixes_of_one_length_with_more_or_fewer_views_are_kept_apart(capture):
    model = small_model()
    engine = make_engine(model, capture, text_bucket=1)
    for views, text in ((1, 8), (2, 7), (1, 8)):
        request = make_request(views=views, text=text)
        assert_same(engine.infer([request])[0], answer_eagerly(model, request))


def test_more_texts_are_compiled_than_torch_does_unasked(monkeypatch):
    plain = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, mode, **rest: plain(f, backend="eager", **rest)
    )
    model = small_model()
    engine = make_engine(model, text_bucket=1, compiled=True)
    for text in range(1, 12):
        request = make_request(text=text)
        assert_same(engine.infer([request])[0], answer_eagerly(model, request))


def test_views_that_swap_places_are_both_computed_again():
    model, first = small_model(), make_request(views=2)
    engine = make_engine(model)
    engine.infer([first])
    swapped = Request(first.frames[::-1], first.token_ids, first.noise)
    assert_same(engine.infer([swapped])[0], answer_eagerly(model, swapped))


def test_a_call_that_failed_leaves_nothing_to_be_reused(monkeypatch):
    model, first, second = small_model(), make_request(seed=1), make_request(seed=2)
    engine = make_engine(model)
    engine.infer([first])

    def fail(*_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(engine._graphs, "run", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            engine.infer([second])
    assert_same(engine.infer([second])[0], answer_eagerly(model, second))


def test_an_answer_that_is_not_finite_does_not_reach_later_ones():
    model, request = small_model(), make_request()
    engine = make_engine(model)
    noise = np.full_like(request.noise, np.nan)
    bad = engine.infer([Request(request.frames, request.token_ids, noise)])[0]
    assert np.isnan(bad.actions).all()
    short = make_request(seed=3, text=2)
    assert_same(engine.infer([short])[0], answer_eagerly(model, short))


def test_answers_stay_when_the_next_ones_come():
    model = small_model()
    engine = make_engine(model)
    results = [engine.infer([make_request(seed)])[0] for seed in range(3)]
    for seed, result in enumerate(results):
        assert_same(result, answer_eagerly(model, make_request(seed)))


def test_the_same_request_gives_the_same_answer_bit_for_bit():
    engine = make_engine(small_model(), reuse=False)
    first = engine.infer([make_request(5)])[0].actions
    engine.infer([make_request(6)])
    assert np.array_equal(engine.infer([make_request(5)])[0].actions, first)


@pytest.mark.parametrize("view", [0, 1, 2])
def test_the_action_changes_when_a_picture_does(view):
    engine = make_engine(small_model())
    request = make_request(views=3)
    before = engine.infer([request])[0].actions
    frames = list(request.frames)
    frames[view] = 255 - frames[view]
    after = engine.infer([Request(tuple(frames), request.token_ids, request.noise)])[0].actions
    assert np.abs(after - before).max() > 1e-3


def test_bfloat16_keeps_its_distance_to_float32():
    model, request = small_model(), make_request()
    exact, _ = answer_eagerly(model, request)
    model.model.to(torch.bfloat16)
    for name, part in model.model.named_modules():
        if name.startswith(("action_in", "action_out", "action_time")):
            part.float()
    rounded = make_engine(model).infer([request])[0].actions
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert 1e-5 < error < 3e-2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"token_ids": np.array([1, 40])}, "network knows 0 to 39"),
        ({"token_ids": np.array([[1, 2]])}, "must be int64"),
        ({"token_ids": np.zeros(300, np.int64)}, "there is room for 256"),
        ({"noise": np.zeros((5, 5), np.float32)}, r"must be \(5, 6\)"),
        ({"progress": 0.5}, "no progress head"),
        ({"frames": (np.zeros((8, 8, 3)),)}, "must be uint8"),
        ({"frames": (), "token_ids": np.zeros(0, np.int64)}, "neither a picture nor text"),
    ],
)
def test_requests_that_do_not_fit_are_refused_by_name(change, words):
    request = Request(**{**vars(make_request()), **change})
    with pytest.raises(ObservationError, match=words):
        make_engine(small_model()).infer([request])


def test_batches_that_do_not_fit_are_refused_by_name():
    engine = make_engine(small_model())
    with pytest.raises(ObservationError, match="no request"):
        engine.infer([])
    with pytest.raises(ObservationError, match=r"\[1, 2\] views"):
        engine.infer([make_request(views=1), make_request(views=2)])
    with pytest.raises(ObservationError, match="has a progress head"):
        make_engine(small_model(progress=True)).infer([make_request()])


@pytest.mark.parametrize(
    ("options", "words"),
    [({"steps": 0}, "steps is 0"), ({"text_limit": 100}, "multiple of text_bucket")],
)
def test_options_that_cannot_be_are_refused(options, words):
    with pytest.raises(Dm0Error, match=words):
        EngineOptions(**options)


def test_warm_up_leaves_no_graph_to_be_captured():
    engine = make_engine(small_model(), record_on_tape)
    engine.warm_up([(SIZE, SIZE)] * 2, [7])
    ready = engine.describe()["graphs"]
    first = make_request(seed=1)
    engine.infer([first])
    for changed in range(3):
        frames = first.frames[:changed] + make_request(seed=7 + changed).frames[changed:]
        engine.infer([Request(frames, first.token_ids, first.noise)])
    assert engine.describe()["graphs"] == ready
