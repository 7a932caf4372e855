# SPDX-License-Identifier: Apache-2.0
"""What lies in a checkpoint folder, and everything that is wrong with it. Reads headers only."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dm0_ros.errors import CheckpointError
from dm0_ros.model.config import DM0Config, read_config
from dm0_ros.model.headers import (
    Header,
    Stored,
    describe_pointer,
    is_pointer,
    read_header,
    shorten,
)

if TYPE_CHECKING:
    from dm0_ros.model.dm0 import DM0

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
HEAD, EMBEDDINGS = "lm_head.weight", "model.llm.embed_tokens.weight"

# Public checkpoints hold these, and nothing here uses them: the language model's head is tied to
# its embeddings, the expert's head is dead weight, and plain configs may come with progress heads.
UNUSED = re.compile(
    r"lm_head\.weight|model\.action_expert\.lm_head\.weight|model\.progress_(in|out)_proj\.\w+"
)
# Whole numbers and 8-bit floats would need scales, which this layout has no names for.
READABLE = ("BF16", "F16", "F32", "F64")


@dataclass(frozen=True)
class Survey:
    """A checkpoint folder as its headers describe it."""

    folder: Path
    config: DM0Config | None = None
    headers: tuple[Header, ...] = ()
    stored: dict[str, Stored] = field(default_factory=dict)
    model: DM0 | None = None  # of the config, on the meta device
    unused: tuple[str, ...] = ()  # tensors that public checkpoints hold beside the network's
    extra: tuple[str, ...] = ()  # tensors that nothing here knows
    missing: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()  # why it cannot be loaded
    remarks: tuple[str, ...] = ()  # what is odd and does no harm

    @property
    def size(self) -> int:
        """Bytes of all files with weights."""
        return sum(header.size for header in self.headers)

    def check(self) -> None:
        """Raise `CheckpointError` that names every problem, if there are any."""
        if len(self.problems) == 1:
            raise CheckpointError(f"{self.folder}: {self.problems[0]}")
        if self.problems:
            lines = "".join(f"\n  - {problem}" for problem in self.problems)
            raise CheckpointError(f"{self.folder} has {len(self.problems)} faults:{lines}")


def survey(folder: Path, kind: type[DM0], progress: bool | None = None) -> Survey:
    """Look at the folder of a `kind`; ``progress`` as in `DM0.from_pretrained`.

    Damage is named in `Survey.problems`. Raises `CheckpointError` only where there is no folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder: give the folder that holds config.json")
    problems, config, model = [], None, None
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix != ".safetensors" and is_pointer(file):
            problems.append(describe_pointer(file))
    try:
        config = read_config(folder)
        config = config if progress is None else replace(config, progress=progress)
        with torch.device("meta"), _Unfilled():
            model = kind(config)
    except CheckpointError as error:
        problems.append(str(error).replace(f"{folder}/", ""))
    headers, index, remarks, flaws = _read_files(folder)
    readable = {header.file.name for header in headers if header.tensors}
    problems += flaws
    problems += [problem for header in headers for problem in header.problems]
    tensors = [tensor for header in headers for tensor in header.tensors]
    found = Survey(
        folder,
        config,
        tuple(headers),
        {tensor.name: tensor for tensor in reversed(tensors)},
        model,
        problems=tuple(problems) + tuple(_check_places(tensors, index)),
        remarks=tuple(remarks),
    )
    # What a file that cannot be read should hold is not missing once more.
    away = {name for name, file in index.items() if file not in readable}
    return found if model is None else _compare(found, model, away if readable else None)


class _Unfilled(torch.overrides.TorchFunctionMode):
    """Leaves out the random numbers: on the meta device there is nothing to fill."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        if getattr(function, "__name__", "") in ("uniform_", "normal_", "trunc_normal_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _read_files(folder: Path) -> tuple[list[Header], dict[str, str], list[str], list[str]]:
    """Headers, the index's file of each tensor, remarks and problems."""
    single, index = folder / WEIGHTS, folder / INDEX
    if not index.is_file():
        if single.is_file():
            return [read_header(single)], {}, [], []
        told = (
            f"there is neither {WEIGHTS} nor {INDEX}; weights of other formats "
            "(pytorch_model.bin) are never read, because loading them can run code"
        )
        return [], {}, [], [told]
    problems = []
    if single.is_file():
        problems.append(f"there are both {WEIGHTS} and {INDEX}; remove the one that is older")
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        places = {str(name): str(file) for name, file in content["weight_map"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        return [], {}, [], [*problems, f"{INDEX} is broken ({error!r}); copy it again"]
    headers = []
    for name in sorted(set(places.values())):
        if Path(name).name != name or name in (".", ".."):
            problems.append(f"{INDEX} points outside its folder: {name!r}")
        elif not (folder / name).is_file():
            lost = [tensor for tensor, file in places.items() if file == name]
            problems.append(
                f"{name} is missing, but {INDEX} names it for {len(lost)} tensors; copy it"
            )
        else:
            headers.append(read_header(folder / name))
    return headers, places, _check_total(content, headers), problems


def _check_total(content: dict[str, Any], headers: list[Header]) -> list[str]:
    metadata = content.get("metadata")
    told = metadata.get("total_size") if isinstance(metadata, dict) else None
    there = sum(tensor.size for header in headers for tensor in header.tensors)
    if told is None or told == there or any(header.problems for header in headers):
        return []
    return [f"{INDEX} says {told} bytes, the files hold {there}; it may be of another save"]


def _check_places(tensors: list[Stored], index: dict[str, str]) -> list[str]:
    """Tensors in several files, in a file that the index does not say, or in none."""
    problems = []
    counts = Counter(tensor.name for tensor in tensors)
    for name in (name for name, count in counts.items() if count > 1):
        files = sorted({tensor.file.name for tensor in tensors if tensor.name == name})
        if len(files) > 1:
            problems.append(f"{name} is in {' and '.join(files)}; copy the checkpoint again")
    if not index:
        return problems
    for file in sorted({tensor.file for tensor in tensors}):
        there = {tensor.name for tensor in tensors if tensor.file == file}
        named = {name for name, place in index.items() if place == file.name}
        pairs = (
            (named - there, f"{INDEX} names tensors in {file.name} that are not there"),
            (there - set(index), f"{file.name} holds tensors that {INDEX} does not name"),
        )
        problems += [f"{told}: {shorten(sorted(names))}" for names, told in pairs if names]
    return problems


def _compare(found: Survey, model: DM0, away: set[str] | None) -> Survey:
    """The survey with what the network wants and what is there set against each other.

    `away` are in files that cannot be read; None: there is no file that can.
    """
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    stored, problems = found.stored, list(found.problems)
    missing = [name for name in wanted if name not in stored]
    spare = [name for name in stored if name not in wanted]
    both = [name for name in wanted if name in stored]
    misshapen = [name for name in both if stored[name].shape != wanted[name]]
    unreadable = [name for name in both if stored[name].dtype not in READABLE]
    lacking = [name for name in missing if away is not None and name not in away]
    if lacking:
        problems.append(
            f"lacks {len(lacking)} of the {len(wanted)} tensors that config.json asks for: "
            f"{shorten(lacking)}"
        )
    problems += [
        f"{stored[name].file.name}: {name} has shape {stored[name].shape}, config.json asks for "
        f"{wanted[name]}; weights and config.json are not of the same model"
        for name in misshapen
    ]
    for dtype in sorted({stored[name].dtype for name in unreadable}):
        names = [name for name in unreadable if stored[name].dtype == dtype]
        problems.append(
            f"{shorten(names)} stored as {dtype}: only {', '.join(READABLE)} are read, for "
            "quantised weights mean nothing without their scales; convert them first"
        )
    unused = [name for name in spare if UNUSED.fullmatch(name)]
    return replace(
        found,
        unused=tuple(unused),
        extra=tuple(name for name in spare if name not in unused),
        missing=tuple(missing),
        misshapen=tuple(misshapen),
        problems=tuple(problems),
    )
