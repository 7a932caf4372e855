# SPDX-License-Identifier: Apache-2.0
"""Reading and writing checkpoint folders: config.json and safetensors. Nothing is unpickled."""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dm0_ros.errors import CheckpointError
from dm0_ros.model.config import read_config

if TYPE_CHECKING:
    from dm0_ros.model.dm0 import DM0

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

# Public checkpoints hold these, and nothing here uses them: the language model's head is tied to
# its embeddings, the expert's head is dead weight, and plain configs may come with progress heads.
UNUSED = re.compile(
    r"lm_head\.weight|model\.action_expert\.lm_head\.weight|model\.progress_(in|out)_proj\.\w+"
)

# Stay float32 when the rest is bfloat16 (facts: dm0_model.md, B.3).
FLOAT32 = re.compile(
    r"model\.(action_(in|out)_proj|action_time_mlp_(in|out)|progress_(in|out)_proj)\.\w+"
    r"|.*\.(input|post_attention)_layernorm\.weight|model\.action_expert\.model\.norm\.weight"
)

DTYPES = (torch.float32, torch.bfloat16)


def load(
    kind: type[DM0],
    path: str | PathLike[str],
    dtype: torch.dtype | None,
    device: torch.device,
    progress: bool | None,
) -> DM0:
    """Builds a `kind` from the folder `path`; see `DM0.from_pretrained`."""
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder: give the folder that holds config.json")
    config = read_config(folder)
    if progress is not None:
        config = replace(config, progress=progress)
    if dtype is None:
        dtype = torch.bfloat16 if config.bf16 else torch.float32
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype} is not supported: use float32 or bfloat16")
    with torch.device("meta"):
        model = kind(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found, extra = {}, []
    for file, name, tensor in _tensors(folder, wanted):
        if tensor is None:
            extra.append(name)
            continue
        if tuple(tensor.shape) != wanted[name]:
            raise CheckpointError(
                f"{file}: {name} has shape {tuple(tensor.shape)}, config.json asks for "
                f"{wanted[name]}; weights and config.json are not of the same model"
            )
        target = torch.float32 if FLOAT32.fullmatch(name) else dtype
        found[name] = tensor.to(device, target)
    _check_names(folder, wanted, found, extra)
    model.load_state_dict(found, assign=True)
    return model.eval()


def save(model: DM0, path: str | PathLike[str]) -> None:
    """Writes `model` into the folder `path`; see `DM0.save_pretrained`."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    text = json.dumps(model.config.to_dict(), indent=1) + "\n"
    _replace(folder / WEIGHTS, lambda file: save_file(tensors, file, metadata={"format": "pt"}))
    _replace(folder / "config.json", lambda file: Path(file).write_text(text, encoding="utf-8"))
    # A shard index left by an earlier checkpoint would win over the new file.
    (folder / INDEX).unlink(missing_ok=True)


def _replace(target: Path, write: Callable[[str], object]) -> None:
    """Writes beside `target` and moves it into place, so that no reader sees half a file."""
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        write(part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, target)
    finally:
        Path(part).unlink(missing_ok=True)


def _tensors(folder: Path, wanted: Container[str]) -> Iterator[tuple[Path, str, Tensor | None]]:
    """Each tensor of the folder: its file, its name, and, if it is wanted, its value."""
    for file in _files(folder):
        try:
            with safe_open(file, framework="pt") as content:
                names = content.keys()
                for name in names:
                    yield file, name, content.get_tensor(name) if name in wanted else None
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file} is truncated or no safetensors file ({error}); copy it again"
            ) from error


def _files(folder: Path) -> list[Path]:
    single, index = folder / WEIGHTS, folder / INDEX
    if not index.is_file():
        if single.is_file():
            return [single]
        raise CheckpointError(
            f"{folder} holds neither {WEIGHTS} nor {INDEX}; weights of other formats "
            "(pytorch_model.bin) are never read, because loading them can run code"
        )
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is broken ({error!r}); copy it again") from error
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{index} points outside its folder: {name!r}")
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing, but {INDEX} names it; copy it")
    return [folder / name for name in names]


def _check_names(folder: Path, wanted: dict, found: dict, extra: list[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of the {len(wanted)} tensors that config.json asks "
            f"for: {_some(missing)}"
        )
    unknown = [name for name in extra if not UNUSED.fullmatch(name)]
    if unknown:
        warnings.warn(f"{folder}: unknown tensors are ignored: {_some(unknown)}", stacklevel=4)


def _some(names: list[str]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")
