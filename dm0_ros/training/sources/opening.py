# SPDX-License-Identifier: Apache-2.0
"""Sources from their settings."""

from pathlib import Path

from dm0_ros.robots.parsing import build, locate, read_yaml
from dm0_ros.training.sources.dexdata import DexdataReader, TextSource
from dm0_ros.training.sources.episodes import EpisodeSource
from dm0_ros.training.sources.lerobot import LeRobotReader
from dm0_ros.training.sources.recordings import RecordingSource
from dm0_ros.training.sources.sample import Source, SourceError
from dm0_ros.training.sources.settings import SourceKind, SourceList, SourceSettings
from dm0_ros.training.sources.stored import StoredReader

_READERS = {
    SourceKind.LEROBOT: LeRobotReader,
    SourceKind.EPISODES: StoredReader,
    SourceKind.DEXDATA: DexdataReader,
}


def open_sources(path: str | Path) -> list[Source]:
    """The sources that a YAML lists under ``sources``.

    Raises `SourceError` with file, line and key where it is wrong, or a folder does not fit it.
    """
    section = read_yaml(Path(path), SourceError)
    opened = []
    for index, settings in enumerate(build(SourceList, section, SourceError).sources):
        try:
            opened.append(open_source(settings))
        except SourceError as flaw:
            key = ("sources", index, *flaw.key)
            raise locate(section, SourceError(flaw.args[0], key)) from flaw
    return opened


def open_source(settings: SourceSettings) -> Source:
    """The source that settings describe. Raises `SourceError` where its folder does not fit."""
    if not settings.folder.is_dir():
        raise SourceError(f"there is no folder {settings.folder}; check it", key=("path",))
    if settings.kind is SourceKind.RECORDINGS:
        return RecordingSource(settings)
    layout = settings.find_layout()
    if layout is not None:
        return EpisodeSource(_READERS[settings.kind](settings, layout), settings, layout)
    if settings.kind is not SourceKind.DEXDATA:
        message = "is missing: such data are of a robot; name it"
        raise SourceError(message, key=("robot",))
    return TextSource(settings)
