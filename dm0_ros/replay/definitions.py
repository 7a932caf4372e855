# SPDX-License-Identifier: Apache-2.0
"""Message definitions by type name, from rosbags' Jazzy set or the share folders of packages."""

import os
import sys
from pathlib import Path

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from dm0_ros.errors import Dm0Error

_PACKAGE = "dm0_ros"
_SOURCE_TREE = Path(__file__).resolve().parents[2]


def make_typestore() -> Typestore:
    """The message types of ROS 2 Jazzy, and those of this package."""
    store = get_typestore(Stores.ROS2_JAZZY)
    folder = next((f for f in _message_folders(_PACKAGE) if any(f.glob("*.msg"))), None)
    if folder is None:
        looked = ", ".join(map(str, _message_folders(_PACKAGE)))
        raise Dm0Error(f"the package's messages are nowhere; looked in {looked}; run `make env`")
    for path in sorted(folder.glob("*.msg")):
        add_type(store, f"{_PACKAGE}/msg/{path.stem}")
    return store


def add_type(store: Typestore, name: str) -> None:
    """Make ``store`` know the type ``package/msg/Name`` and everything it is made of.

    Raises `Dm0Error` where no definition of a type can be found.
    """
    if name in store.fielddefs:
        return
    definitions = get_types_from_msg(_find_definition(name).read_text("utf-8"), name)
    for _, fields in definitions.values():
        for _, description in fields:
            part = _named_part(description)
            if part and part not in definitions:
                add_type(store, part)
    store.register(definitions)


def _named_part(description) -> str | None:
    """The message type that a field is made of; None where it is made of primitives."""
    kind, detail = description
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return _named_part(detail[0])
    return detail if kind == Nodetype.NAME else None


def _find_definition(name: str) -> Path:
    package, _, stem = name.split("/")
    candidates = [folder / f"{stem}.msg" for folder in _message_folders(package)]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked = ", ".join(str(candidate.parent) for candidate in candidates)
    raise Dm0Error(f"no definition of the message type {name}; looked in {looked}")


def _message_folders(package: str) -> list[Path]:
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    folders = [Path(prefix, "share", package, "msg") for prefix in prefixes if prefix]
    # The installed ones first: messages on the wire are what was built, not what is being edited.
    return [*folders, _SOURCE_TREE / "msg"] if package == _PACKAGE else folders
