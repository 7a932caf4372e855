# SPDX-License-Identifier: Apache-2.0
"""Recomputed layers give the same gradients and remember less."""

import pytest
import torch
from hybrid_samples import hybrid_batch, noise_and_time
from model_samples import chunk, observation, small_model

from dm0_ros.model.recompute import recompute_layers
from dm0_ros.training.losses import hybrid_losses


def gradients(model, decouple):
    losses = hybrid_losses(model, hybrid_batch(), *noise_and_time(noises=2), decouple=decouple)
    loss = losses.text.mean() + losses.flow.mean()
    loss.backward()
    return loss, {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("decouple", [True, False])
def test_gradients_are_equal(decouple):
    plain, careful = small_model(), small_model()
    recompute_layers(careful)
    (loss, wanted), (again, found) = gradients(plain, decouple), gradients(careful, decouple)
    assert torch.equal(loss, again)
    for name, gradient in wanted.items():
        assert gradient.any(), name
        assert torch.equal(found[name], gradient), name


def saved_bytes(model):
    """What a forward pass keeps for its backward pass, weights aside."""
    weights = {weight.data_ptr() for weight in model.parameters()}
    kept = {}

    def note(tensor):
        if tensor.data_ptr() not in weights:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        time = torch.tensor([0.3, 0.6])
        loss, _ = model.flow_loss(*observation(text=60), chunk(), chunk(seed=2), time)
    loss.backward()
    return sum(kept.values())


def test_less_is_remembered():
    plain, careful = small_model(), small_model()
    recompute_layers(careful)
    assert saved_bytes(careful) < 0.6 * saved_bytes(plain)


def test_each_stack_computes_its_layers_twice():
    model = small_model()
    recompute_layers(model)
    calls = {}
    net = model.model
    stacks = {
        "llm": net.llm.layers,
        "expert": net.action_expert["model"].layers,
        "vision": net.mm_vision_tower["vision_tower"].transformer["resblocks"],
    }
    for name, layers in stacks.items():
        layers[0].register_forward_pre_hook(
            lambda *call, name=name: calls.update({name: calls.get(name, 0) + 1})
        )
    gradients(model, False)
    assert calls == {"llm": 2, "expert": 2, "vision": 2}
    with torch.no_grad():
        model.sample_actions(*observation(), noise=chunk(), steps=1)
    assert calls == {"llm": 3, "expert": 3, "vision": 3}
