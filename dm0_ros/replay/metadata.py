# SPDX-License-Identifier: Apache-2.0
"""metadata.yaml of a bag: version 9 of rosbag2's format, as Jazzy writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

NAME = "metadata.yaml"
FACTS = "dm0_ros"  # MCAP metadata records of this name hold what custom_data holds
MISSING = "dm0_ros.missing"  # key of custom_data: sentences, one a line


@dataclass(frozen=True)
class Topic:
    """A recorded topic."""

    name: str
    type: str
    qualities: Sequence[Mapping]  # that were offered
    digest: str  # RIHS01 hash of the type


@dataclass
class Part:
    """One file of a bag. Times are nanoseconds since 1970."""

    name: str
    counts: dict[str, int] = field(default_factory=dict)  # messages by topic
    begin: int | None = None
    last: int | None = None

    def note(self, topic: str, nanoseconds: int) -> None:
        """A message was written."""
        self.counts[topic] = self.counts.get(topic, 0) + 1
        self.begin = nanoseconds if self.begin is None else min(self.begin, nanoseconds)
        self.last = nanoseconds if self.last is None else max(self.last, nanoseconds)


def dump_metadata(
    topics: Sequence[Topic], parts: Sequence[Part], custom: Mapping[str, str]
) -> str:
    """The text of the file."""
    content = {"rosbag2_bagfile_information": _describe(topics, parts, custom)}
    return yaml.dump(content, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)


def dump_part(topics: Sequence[Topic], part: Part, custom: Mapping[str, str]) -> str:
    """What rosbag2 keeps of a file in the file itself."""
    return yaml.dump(_describe(topics, [part], custom), Dumper=_DUMPER, sort_keys=False)


def read_metadata(path: Path) -> tuple[list[str], dict[str, str]] | None:
    """Files and custom_data of a bag; None where that is not what there is to be read."""
    try:
        content = yaml.load(path.read_text(), Loader=_LOADER)["rosbag2_bagfile_information"]
        if content["version"] > 9 or content["storage_identifier"] != "mcap":
            return None
        names = [Path(name).name for name in content["relative_file_paths"]]
        return names, dict(content.get("custom_data") or {})
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None


def _describe(topics, parts, custom) -> dict:
    begun = [part for part in parts if part.begin is not None]
    begin = min((part.begin for part in begun), default=0)
    last = max((part.last for part in begun), default=0)
    counts = {t.name: sum(part.counts.get(t.name, 0) for part in parts) for t in topics}
    return {
        "version": 9,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": last - begin},
        "starting_time": {"nanoseconds_since_epoch": begin},
        "message_count": sum(counts.values()),
        "topics_with_message_count": [
            {"topic_metadata": _describe_topic(topic), "message_count": counts[topic.name]}
            for topic in topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [part.name for part in parts],
        "files": [_describe_part(part) for part in parts],
        "custom_data": dict(custom) or None,
        "ros_distro": "jazzy",
    }


def _describe_topic(topic: Topic) -> dict:
    return {
        "name": topic.name,
        "type": topic.type,
        "serialization_format": "cdr",
        "offered_qos_profiles": [dict(quality) for quality in topic.qualities],
        "type_description_hash": topic.digest,
    }


def _describe_part(part: Part) -> dict:
    begin, last = part.begin or 0, part.last or 0
    return {
        "path": part.name,
        "starting_time": {"nanoseconds_since_epoch": begin},
        "duration": {"nanoseconds": last - begin},
        "message_count": sum(part.counts.values()),
    }


class _Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    """Without the marks of things that occur twice, which foreign readers may not know."""

    def ignore_aliases(self, _data) -> bool:
        return True


_DUMPER = _Plain
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
