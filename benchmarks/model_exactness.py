# SPDX-License-Identifier: Apache-2.0
"""How far DM0 in float32 and bfloat16 is from the reference implementation, and from itself.

With --against, a checkout of dexmal/dexbotic, the reference runs on the same weights and inputs
(support/reference.py says what it needs). Differences are relative, ||a - b|| / ||b||.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from support.networks import cast, load_network, make_random
from support.record import make_parser, report
from support.reference import ReferenceModel
from torch import Tensor

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0, DecoderConfig, DM0Config, VisionConfig

_HEADS = {
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
}
MIDDLE = DM0Config(
    vision=VisionConfig(image_size=224, patch_size=14, width=256, layers=6, heads=4),
    llm=DecoderConfig(1000, 512, 1536, **_HEADS),
    expert=DecoderConfig(1000, 256, 384, **_HEADS),
)
SIZES = ["tiny", "middle", "nano"]
Outputs = tuple[Tensor, Tensor]


def make_inputs(
    config: DM0Config, options: argparse.Namespace, ragged: bool
) -> tuple[list[Tensor], Tensor]:
    """Images, image masks, token ids, token mask; and noise.

    `ragged` observations have a masked view or half a text: the reference computes all of both.
    """
    random = torch.Generator().manual_seed(options.seed)
    size, batch, views = config.vision.image_size, options.batch, options.views
    images = torch.rand(batch, views, 3, size, size, generator=random) * 2 - 1
    ids = torch.randint(config.llm.vocab_size, (batch, options.text), generator=random)
    there, words = torch.ones(batch, views).bool(), torch.ones(batch, options.text).bool()
    if ragged:
        there[-1, -1] = False
        words[0, options.text // 2 :] = False
    noise = torch.randn(batch, config.chunk_size, config.action_dim, generator=random)
    device = torch.device(options.device)
    inputs = [tensor.to(device) for tensor in (images, there, ids, words, noise)]
    return inputs[:4], inputs[4]


@torch.no_grad()
def compare(model: DM0, options: argparse.Namespace, ragged: bool) -> dict:
    """The figures of one float32 network, whose weights become those of a bfloat16 file."""
    for parameter in model.parameters():
        parameter.copy_(parameter.bfloat16())
    inputs, noise = make_inputs(model.config, options, ragged)
    outputs: dict[str, Outputs] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        network = cast(model, dtype)
        tokens = network.encode_pictures(inputs[0][:, 0])
        actions = network.sample_actions(*inputs, noise=noise, steps=options.steps)
        outputs[f"ours {name}"] = tokens.float(), actions
        if options.against:
            reference = ReferenceModel(options.against, network)
            tokens = reference.picture_tokens(inputs[0][:, 0])
            outputs[f"reference {name}"] = (
                tokens.float(),
                reference.sample(*inputs, noise, options.steps),
            )
    pairs = [("ours bf16", "ours fp32")]
    if options.against:
        pairs += [
            ("ours fp32", "reference fp32"),
            ("ours bf16", "reference bf16"),
            ("reference bf16", "reference fp32"),
            ("ours bf16", "reference fp32"),
        ]
    return {f"{one} to {other}": _distance(outputs[one], outputs[other]) for one, other in pairs}


def _distance(one: Outputs, other: Outputs) -> dict:
    tokens, actions = (float((a - b).norm() / b.norm()) for a, b in zip(one, other, strict=True))
    return {
        "picture tokens": float(f"{tokens:.3g}"),
        "actions": float(f"{actions:.3g}"),
        "actions, greatest": float(f"{float((one[1] - other[1]).abs().max()):.3g}"),
        "bits equal": bool(torch.equal(one[1], other[1])),
    }


def main(arguments: Sequence[str] | None = None) -> dict:
    """Runs the comparison; gives its figures."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--size", nargs="+", default=SIZES, help="also full, or a folder")
    add("--against", metavar="PATH", help="a checkout of dexmal/dexbotic")
    add("--device", default="cpu")
    add("--batch", type=int, default=2)
    add("--views", type=int, default=3)
    add("--text", type=int, default=40)
    add("--steps", type=int, default=10)
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    figures = {"device": options.device, "against": options.against, "steps": options.steps}
    for size in options.size:
        model = (
            make_random(MIDDLE, device, options.seed)
            if size == "middle"
            else load_network(size, device, options.seed)
        )
        figures[size] = {
            name: compare(model, options, ragged)
            for name, ragged in (("dense", False), ("ragged", True))
        }
    name = "model_exactness" if options.size == SIZES else f"model_exactness_{options.size[0]}"
    report(name, figures, options.write)
    return figures


if __name__ == "__main__":
    try:
        main()
    except Dm0Error as error:
        sys.exit(f"model_exactness: {error}")
