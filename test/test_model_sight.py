# SPDX-License-Identifier: Apache-2.0
"""Actions change when a picture does, or a word: the fault that the reference hides (F.1).

On recent transformers the reference attends to nothing of its prefix and says nothing. Here every
view and every token is held to matter, in both dtypes, and with the network that ships.
"""

import pytest
import torch
from model_samples import SMALL, chunk, observation, small_model

from dm0_ros.model import DM0
from dm0_ros.policy.prompt import encode_prompt
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.resources import find_resource

VIEWS, WORDS = 3, 5
DTYPES = [torch.float32, torch.bfloat16]


def actions_of(model, inputs, **changes):
    noise = chunk(batch=1)
    with torch.no_grad():
        return model.sample_actions(*inputs, noise=noise, **changes)


def moved(model, inputs, changed):
    return float((actions_of(model, changed) - actions_of(model, inputs)).abs().max())


@pytest.fixture(scope="module", params=DTYPES)
def model(request):
    made = small_model()
    return made.bfloat16() if request.param == torch.bfloat16 else made


@pytest.fixture
def inputs():
    return observation(batch=1, views=VIEWS, text=WORDS)


@pytest.mark.parametrize("view", range(VIEWS))
def test_every_view_matters(model, inputs, view):
    images, *rest = inputs
    other = images.clone()
    other[:, view] *= -1
    assert moved(model, inputs, (other, *rest)) > 1e-3


@pytest.mark.parametrize("view", range(VIEWS))
def test_every_view_matters_by_its_presence(model, inputs, view):
    images, views, *rest = inputs
    fewer = views.clone()
    fewer[:, view] = False
    assert moved(model, inputs, (images, fewer, *rest)) > 1e-3


def test_the_order_of_the_views_matters(model, inputs):
    images, *rest = inputs
    assert moved(model, inputs, (images.flip(1), *rest)) > 1e-3


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_every_corner_of_a_picture_matters(model, inputs, corner):
    images, *rest = inputs
    size, half = images.shape[-1], images.shape[-1] // 2
    other = images.clone()
    rows, columns = (slice(side * half, side * half + size - half) for side in corner)
    other[:, 0, :, rows, columns] *= -1
    assert moved(model, inputs, (other, *rest)) > 1e-3


@pytest.mark.parametrize("word", range(WORDS))
def test_every_word_matters(model, inputs, word):
    images, views, ids, mask = inputs
    other = ids.clone()
    other[:, word] = (other[:, word] + 7) % SMALL.llm.vocab_size
    assert moved(model, inputs, (images, views, other, mask)) > 1e-3


@pytest.fixture(scope="module")
def shipped():
    """The network for simulation, and an observation of its size."""
    folder = find_resource("checkpoints", "nano-franka")
    model = DM0.from_pretrained(folder)
    size = model.config.vision.image_size
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 2, 3, size, size, generator=generator) * 2 - 1
    words = encode_prompt(load_tokenizer(folder), "touch the red block", 100)
    ids, mask = (torch.from_numpy(part)[None] for part in words)
    return model, (images, torch.ones(1, 2, dtype=torch.bool), ids, mask), folder


def shipped_moved(model, inputs, changed):
    shape = (1, model.config.chunk_size, model.config.action_dim)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    one, other = (model.sample_actions(*given, noise=noise) for given in (inputs, changed))
    return float((one - other).abs().max())


@pytest.mark.parametrize("view", range(2))
def test_the_shipped_network_sees_every_view(shipped, view):
    model, inputs, _ = shipped
    images, *rest = inputs
    other = images.clone()
    other[:, view] *= -1
    assert shipped_moved(model, inputs, (other, *rest)) > 1e-3


def test_the_shipped_network_reads_the_instruction(shipped):
    model, inputs, folder = shipped
    images, views, *_ = inputs
    words = encode_prompt(load_tokenizer(folder), "touch the blue block", 100)
    text = (torch.from_numpy(part)[None] for part in words)
    assert shipped_moved(model, inputs, (images, views, *text)) > 1e-3
