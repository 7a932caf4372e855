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
    definitions = get_types_from_msg(_read_definition(name), name)
    for _, fields in definitions.values():
        for _, description in fields:
            part = _named_part(description)
            if part and part not in definitions:
                add_type(store, part)
    store.register(definitions)


def _read_definition(name: str) -> str:
    """The text of a message type; of actions there is what they publish, their feedback.

    It is called a message here, since readers know of no others.
    """
    package, kind, stem = name.split("/")
    action, _, part = stem.rpartition("_")
    if kind == "action" and part == "FeedbackMessage":
        return f"unique_identifier_msgs/UUID goal_id\n{package}/{action}_Feedback feedback\n"
    path = _seek_definition(name)
    if path is None and part == "Feedback":
        text = _find_definition(f"{package}/action/{action}").read_text("utf-8")
        return text.split("---\n")[2]
    return (path or _find_definition(name)).read_text("utf-8")


def _named_part(description) -> str | None:
    """The message type that a field is made of; None where it is made of primitives."""
    kind, detail = description
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return _named_part(detail[0])
    return detail if kind == Nodetype.NAME else None


def _seek_definition(name: str) -> Path | None:
    package, kind, stem = name.split("/")
    candidates = [folder / f"{stem}.{kind}" for folder in _message_folders(package, kind)]
    return next((path for path in candidates if path.exists()), None)


def _find_definition(name: str) -> Path:
    package, kind, _stem = name.split("/")
    path = _seek_definition(name)
    if path is None:
        looked = ", ".join(map(str, _message_folders(package, kind)))
        raise Dm0Error(f"no definition of the message type {name}; looked in {looked}")
    return path


def _message_folders(package: str, kind: str = "msg") -> list[Path]:
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    folders = [Path(prefix, "share", package, kind) for prefix in prefixes if prefix]
    if package != _PACKAGE:
        return folders
    # The installed ones first: messages on the wire are what was built, not what is being edited.
    own = _SOURCE_TREE / "msg"
    return [*folders, own if kind == "msg" else own / kind]
