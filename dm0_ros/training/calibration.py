# SPDX-License-Identifier: Apache-2.0
"""Where a small network starts from: another's weights, or scale and rates by fan-in that make one
from scratch look at its pictures soon.

Pictures of one scene differ in a few pixels. Untreated, what they have in common makes up nearly
all of every picture token, grows further with every step, and hides the difference.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0
from dm0_ros.model.survey import survey
from dm0_ros.training.recipe import OptimiserSettings

_REFERENCE_FAN_IN = 96
_PROGRESS = "model.progress_"  # begin of the names of the progress head's tensors
# What may differ from the checkpoint's: layers whose width is the number of columns, which another
# robot may have more or fewer of, and the progress head, which it may have none of.
_OWN = ("model.action_in_proj.", "model.action_out_proj.", _PROGRESS)
_CODE = 0.1  # size of a patch's random code, against patches that vary by about one


@torch.no_grad()
def centre_picture_tokens(model: DM0, pictures: Tensor) -> None:
    """Make what the tower's convolutions and the projector give vary by one, about zero.

    A data-dependent start as in layer-sequential unit variance (Mishkin and Matas, 2016), for the
    layers through which pictures reach the language model. ``pictures`` (N, 3, S, S).
    """
    tower = model.model.mm_vision_tower["vision_tower"]
    # What each patch usually shows is taken away, so that what differs stands out of its place's
    # own random code.
    patches = tower.conv1(pictures).flatten(2).transpose(1, 2)
    codes = tower.positional_embedding[1:]
    codes.copy_(_CODE * torch.randn_like(codes) - patches.mean(0))
    for layer in (tower.vit_downsampler1, tower.vit_downsampler2, model.model.mm_projector):
        outputs: list[Tensor] = []
        hook = layer.register_forward_hook(lambda *call, outputs=outputs: outputs.append(call[2]))
        model.encode_pictures(pictures)
        hook.remove()
        (output,) = outputs
        channels = (0, 2, 3) if isinstance(layer, nn.Conv2d) else (0, 1)
        mean = output.mean(channels, keepdim=True)
        scale = 1 / (output - mean).std()
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.sub_(mean.flatten()).mul_(scale)


@torch.no_grad()
def adopt_weights(model: DM0, checkpoint: Path) -> None:
    """Give ``model`` the weights of a checkpoint folder.

    Layers that read and write action columns stay new where the numbers of columns differ, and so
    does the progress head where the checkpoint has none. Generalist checkpoints have one that
    their config does not tell of. Raises `Dm0Error` that names the tensors where anything else has
    another size.
    """
    told = any(name.startswith(_PROGRESS) for name in survey(checkpoint, DM0).stored)
    values = DM0.from_pretrained(checkpoint, torch.float32, progress=told or None).state_dict()
    wanted = model.state_dict()
    strange = {
        name for name in wanted if name not in values or values[name].shape != wanted[name].shape
    }
    wrong = sorted(name for name in strange if not name.startswith(_OWN))
    if wrong:
        raise Dm0Error(
            f"{checkpoint}: cannot be trained further by this recipe: {', '.join(wrong[:3])} "
            f"({len(wrong)} in all) are not of the recipe's size; give it the same 'network'"
        )
    for name in set(wanted) - strange:
        wanted[name].copy_(values[name])


def parameter_groups(model: nn.Module, settings: OptimiserSettings) -> list[dict]:
    """AdamW's groups. Scaled rates fall with the fan-in of matrices.

    Adam moves every weight alike, so a unit's output moves by rate times fan-in; dividing by the
    fan-in keeps wide layers from running away (maximal update parametrisation, Yang 2022).
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1 and "embed" not in name and settings.scaled_rates
        fan_in = math.prod(parameter.shape[1:]) if matrix else 0
        share = min(1.0, _REFERENCE_FAN_IN / fan_in) if fan_in else 1.0
        groups.setdefault(share, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.learning_rate * share,
            "share": share,
            "weight_decay": settings.weight_decay,
            "eps": settings.epsilon,
        }
        for share, parameters in groups.items()
    ]
