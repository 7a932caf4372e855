# SPDX-License-Identifier: Apache-2.0
"""Reading and writing checkpoint folders: config.json and safetensors. Nothing is unpickled."""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dm0_ros.errors import CheckpointError
from dm0_ros.model import hub
from dm0_ros.model.headers import Stored, shorten
from dm0_ros.model.survey import EMBEDDINGS, HEAD, INDEX, WEIGHTS, Survey, survey

if TYPE_CHECKING:
    from dm0_ros.model.dm0 import DM0

# Stay float32 when the rest is bfloat16 (facts: dm0_model.md, B.3).
FLOAT32 = re.compile(
    r"model\.(action_(in|out)_proj|action_time_mlp_(in|out)|progress_(in|out)_proj)\.\w+"
    r"|.*\.(input|post_attention)_layernorm\.weight|model\.action_expert\.model\.norm\.weight"
)

DTYPES = (torch.float32, torch.bfloat16)

# Bytes of a file that are mapped at a time. What is mapped and has been read counts as memory of
# the process until it is unmapped; opening a file again costs a millisecond.
_MAPPED = 32 * 2**20


def load(
    kind: type[DM0],
    path: str | PathLike[str],
    dtype: torch.dtype | None,
    device: torch.device,
    progress: bool | None,
) -> DM0:
    """Builds a `kind` from what `path` names; see `DM0.from_pretrained`."""
    found = survey(hub.locate(path), kind, progress)
    found.check()
    model = found.model
    if dtype is None:
        dtype = torch.bfloat16 if found.config.bf16 else torch.float32
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype} is not supported: use float32 or bfloat16")
    remarks = [*found.remarks, *_check_head(found)]
    if found.extra:
        remarks.append(f"unknown tensors are ignored: {shorten(found.extra)}")
    for remark in remarks:
        warnings.warn(f"{found.folder}: {remark}", stacklevel=3)
    wanted = [found.stored[name] for name in model.state_dict()]
    try:
        values = _read(wanted, dtype, device)
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            f"{found.folder} does not fit on {device}: {found.size / 1e9:.1f} GB of weights; free "
            "memory there, or use dtype bfloat16"
        ) from error
    model.load_state_dict(values, assign=True)
    return model.eval()


def _read(wanted: list[Stored], dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """The tensors in their final type and place. In host memory there is never a second copy."""
    values = {}
    for group in _group(wanted):
        file = group[0].file
        try:
            with safe_open(file, framework="pt") as content:
                for stored in group:
                    name = stored.name
                    target = torch.float32 if FLOAT32.fullmatch(name) else dtype
                    values[name] = content.get_tensor(name).to(device, target, copy=True)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file} is damaged or no safetensors file ({error}); copy it again"
            ) from error
    return values


def _group(wanted: list[Stored]) -> Iterator[list[Stored]]:
    """Neighbours in one file, `_MAPPED` bytes or one tensor at a time, in the file's order."""
    group: list[Stored] = []
    for stored in sorted(wanted, key=lambda item: (item.file, item.begin)):
        size = sum(item.size for item in group) + stored.size
        if group and (stored.file != group[0].file or size > _MAPPED):
            yield group
            group = []
        group.append(stored)
    if group:
        yield group


def _check_head(found: Survey) -> list[str]:
    """A remark where the language model has a head of its own.

    Its weights are those of the embeddings in every checkpoint known so far (facts: B.1, B.2), so
    they are not kept twice.
    """
    head, embeddings = found.stored.get(HEAD), found.stored[EMBEDDINGS]
    if head is None or _are_equal(head, embeddings):
        return []
    return [
        f"{HEAD} is not equal to {EMBEDDINGS} and is ignored: actions are right, generated text "
        "is not"
    ]


def _are_equal(one: Stored, other: Stored) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    rows = max(1, _MAPPED * one.shape[0] // max(one.size, 1))
    return all(
        torch.equal(_read_rows(one, start, rows), _read_rows(other, start, rows))
        for start in range(0, one.shape[0], rows)
    )


def _read_rows(stored: Stored, start: int, rows: int) -> Tensor:
    with safe_open(stored.file, framework="pt") as content:
        return content.get_slice(stored.name)[start : start + rows]


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
