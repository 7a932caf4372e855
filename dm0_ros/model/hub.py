# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by name: a folder, a repository on the Hugging Face hub, or one of our short names.

What the hub client does is configured by its own environment variables: HF_HOME (where files are
kept), HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from dm0_ros.errors import CheckpointError
from dm0_ros.resources import find_resource

# All that a checkpoint needs, and nothing that could run: no pickles, no code.
FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", "norm_stats.json",
         "policy.yaml", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
         "added_tokens.json", "special_tokens_map.json")  # fmt: skip
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Repository:
    """A repository on the hub, at a commit, branch or tag."""

    name: str  # owner/name
    revision: str | None = None  # None: the default branch

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


def list_short_names() -> dict[str, str]:
    """The repository of each short name in config/checkpoints.yaml."""
    table = yaml.safe_load(find_resource("config", "checkpoints.yaml").read_text("utf-8"))
    names = [*table["checkpoints"], *(table["specialist"].format(task=t) for t in table["tasks"])]
    return {name: table["repository"].format(name=name) for name in names}


def parse_name(name: str) -> Repository:
    """`NAME`, `OWNER/NAME`, or one of these with `@REVISION`; `CheckpointError` for others."""
    bare, at, revision = name.partition("@")
    repository = list_short_names().get(bare, bare)
    if not _REPOSITORY.fullmatch(repository) or (at and not revision):
        raise CheckpointError(
            f"{name} is no folder, no repository (OWNER/NAME) and no short name; 'dm0 checkpoint "
            "list' has the short names"
        )
    return Repository(repository, revision or None)


def locate(path: str | PathLike[str]) -> Path:
    """The folder that `path` names; fetched from the hub unless it is here already.

    Raises `CheckpointError` where there is no such thing or it cannot be had, with the remedy.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if not isinstance(path, str) or folder.is_absolute() or path.startswith((".", "~")):
        raise CheckpointError(f"{folder} is no folder: give the folder that holds config.json")
    repository = parse_name(path)
    return find_cached(repository) or fetch(repository)


def find_cached(repository: Repository) -> Path | None:
    """The folder of a repository that is here completely. Asks nobody."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = _snapshot(repository, local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return folder if _is_whole(folder) else None


def _is_whole(folder: Path) -> bool:
    """Whether a snapshot has its files: the client cannot tell where its own notes are gone."""
    index = folder / "model.safetensors.index.json"
    needed = {"config.json", "model.safetensors"}
    if index.is_file():
        weights = re.findall(r'"([^"/]+\.safetensors)"', index.read_text("utf-8"))
        needed = {"config.json", *weights}
    return all((folder / name).is_file() for name in needed)


def fetch(repository: Repository) -> Path:
    """The folder of the repository as the hub has it now; what is here already is not sent again.

    A connection that breaks is taken up where it broke. Without a network, what is here is given.
    The only token ever sent is that of the environment variable HF_TOKEN.
    """
    from huggingface_hub import errors

    try:
        return _snapshot(repository)
    except errors.LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise CheckpointError(_describe(repository, error.__cause__)) from error
        raise CheckpointError(
            f"{repository} is not on this machine, and the hub cannot be reached ({_first(error)})"
            ": connect to the network, unset HF_HUB_OFFLINE, or copy the folder of a machine that "
            "has it"
        ) from error
    except errors.HTTPError as error:
        raise CheckpointError(_describe(repository, error)) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise CheckpointError(
                f"{repository}: the disk is full; free some space, or set HF_HOME to a folder "
                "on another disk, and type the same again: finished files are kept"
            ) from error
        raise CheckpointError(f"{repository} cannot be fetched: {error}; try again") from error


def _snapshot(repository: Repository, **options: Any) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        """Draws on a terminal only; the client's bar of files would go into logs, too."""

        def __init__(self, *arguments: Any, **settings: Any) -> None:
            if not sys.stderr.isatty():
                settings["disable"] = True
            super().__init__(*arguments, **settings)

    try:
        folder = snapshot_download(
            repository.name,
            revision=repository.revision,
            allow_patterns=list(FILES),
            ignore_patterns=["*/*"],
            # False, not None: the client would go on to look for a token in files
            token=os.environ.get("HF_TOKEN") or False,
            tqdm_class=Bar,
            **options,
        )
    except HFValidationError as error:
        raise CheckpointError(f"{repository}: {error}") from error
    return Path(folder)


def _describe(repository: Repository, error: Exception) -> str:
    """What went wrong between us and the hub, and what to do."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    given = "HF_TOKEN is set" if os.environ.get("HF_TOKEN") else "HF_TOKEN is not set"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{repository} is given only to those who accepted its terms: do so at "
            f"https://huggingface.co/{repository.name}, then set HF_TOKEN to a token of that "
            f"account ({given})"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository.name} has no revision '{repository.revision}'; check its spelling"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{repository.name} is no folder here and does not exist on the hub, or is private: "
            f"check its spelling, or set HF_TOKEN to a token that may read it ({given})"
        )
    if status in (401, 403):
        return (
            f"the hub does not let us read {repository} ({status}): set HF_TOKEN to a token that "
            f"may ({given})"
        )
    return f"{repository} cannot be fetched: {_first(error)}; try again, finished files are kept"


def _first(error: Exception) -> str:
    """The cause behind an error of the client, in one line."""
    lines = str(error.__cause__ or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
