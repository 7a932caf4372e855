# SPDX-License-Identifier: Apache-2.0
"""The network against the reference's printed numbers for weights and inputs from formulas.

Formulas and numbers: facts/dm0_model.md, G.1, G.2 and G.7.
"""

import math

import pytest
import torch

from dm0_ros.model import DM0, DecoderConfig, DM0Config, VisionConfig
from dm0_ros.model.flow import embed_time
from dm0_ros.model.rotary import inverse_frequencies

HEADS = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
TINY = {
    "vision": VisionConfig(112, 14, 64, 2, 4, 4.0),
    "llm": DecoderConfig(40, 48, 80, **HEADS),
    "expert": DecoderConfig(7, 32, 56, **HEADS),
    "action_dim": 8,
    "chunk_size": 5,
    "bf16": False,
}


def formula_weight(name: str, shape: torch.Size) -> torch.Tensor:
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    base = torch.sin(sum(name.encode()) % 97 + 0.7 * k + 0.001 * k * k).reshape(shape)
    if name.endswith(("norm.weight", ".gamma")) or (".ln_" in name and name.endswith(".weight")):
        return (1 + 0.1 * base).float()
    if len(shape) >= 2:
        return (base / math.sqrt(math.prod(shape[1:]))).float()
    return (0.1 * base).float()


def tiny(progress: bool = False) -> DM0:
    model = DM0(DM0Config(**TINY, progress=progress)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(formula_weight(name, parameter.shape))
    return model


def pattern(shape: tuple[int, ...], start: float) -> torch.Tensor:
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(start + 0.3 * k + 0.002 * k * k).reshape(shape).float()


IMAGES = pattern((2, 3, 3, 112, 112), 1.0)
IDS = torch.tensor([[3, 5, 7, 9, 11, 0, 0], [4, 6, 8, 0, 0, 0, 0]])
OBSERVATION = (IMAGES, torch.tensor([[1, 1, 0], [1, 0, 1]]).bool(), IDS, IDS != 0)
NOISE = pattern((2, 5, 8), 2.0)


def close(found: torch.Tensor, expected: list[float], tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(
        found.detach().float(), torch.tensor(expected), atol=tolerance, rtol=0
    )


def test_vision_tower_and_projector():
    model = tiny()
    tower = model.model.mm_vision_tower["vision_tower"](IMAGES[:, 0])
    close(tower[0, 0, :4], [0.451753, 0.473157, 0.341051, -0.136675], 1e-5)
    close(tower[1, 3, -4:], [-0.025961, 0.075753, 0.129531, 0.116118], 1e-5)
    close(torch.stack((tower.mean(), tower.abs().mean())), [-0.000878, 0.372745], 1e-5)
    tokens = model.encode_pictures(IMAGES[:, 0])
    close(tokens[0, 0, :4], [1.057404, 0.446442, -0.031787, 0.102093], 1e-5)
    close(tokens[1, 3, -4:], [-0.186797, -0.039665, -0.083419, -0.120162], 1e-5)


@pytest.mark.parametrize(
    ("steps", "first", "last"),
    [
        (
            1,
            [1.794611, 1.001500, 0.529691, -0.238697, 0.683799, -0.584653, -0.971110, -1.007679],
            [1.850132, 0.552407, -0.381739, -1.199857, 0.301123, -0.349117, -0.927055, 0.247353],
        ),
        (
            10,
            [1.508825, 1.524657, 0.631332, -0.157586, 0.729572, -0.526286, -0.577702, -1.471543],
            [1.006088, 0.527856, 0.044624, -1.455556, -0.043386, -0.494476, -0.035607, -0.467732],
        ),
    ],
)
def test_actions(steps, first, last):
    actions = tiny().sample_actions(*OBSERVATION, noise=NOISE, steps=steps)
    close(actions[0, 0], first)
    close(actions[1, 4], last)
    if steps == 10:
        close(torch.stack((actions.mean(), actions.abs().mean())), [0.131533, 0.690475])


def test_training_loss_and_velocity():
    actions = 0.8 * pattern((2, 5, 8), 0.5)
    time = torch.tensor([0.25, 0.75]) * 0.999 + 0.001
    loss, velocity = tiny().flow_loss(*OBSERVATION, actions, NOISE, time)
    close(loss, 1.265854)
    expected = [-1.031966, -0.605662, -0.718802, 0.816554, -1.389068, 0.045007, 0.100540, 0.394677]
    close(velocity[0, 0], expected)


def test_progress():
    model = tiny(progress=True)
    progress = torch.tensor([0.2, 0.6]).view(2, 1, 1)
    actions, ended = model.sample_actions(*OBSERVATION, noise=NOISE, progress=progress)
    close(ended.flatten(), [-1.272229, -1.562168])
    expected = [1.574098, 1.564023, 0.671296, -0.166023, 0.749818, -0.522532, -0.575399, -1.472992]
    close(actions[0, 0], expected)


def test_progress_model_without_progress_is_the_plain_model():
    plain = tiny().sample_actions(*OBSERVATION, noise=NOISE)
    torch.testing.assert_close(
        tiny(progress=True).sample_actions(*OBSERVATION, noise=NOISE), plain
    )


def test_time_embedding():
    waves = embed_time(torch.tensor(0.3), 1024)
    expected = [-6e-6, -0.044199, 0.648047, 0.453991, 1.0, -0.7616, 0.891007]
    close(waves[[0, 1, 255, 511, 512, 767, 1023]], expected, 1e-4)


def test_rotary_frequencies_exact_and_rounded():
    close(inverse_frequencies(128, 1e6)[:4], [1, 0.80584, 0.64938, 0.52330], 1e-5)
    close(inverse_frequencies(128, 1e6, rounded=True)[:4], [1, 0.8047, 0.6484, 0.5234], 5e-5)
