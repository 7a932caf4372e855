# SPDX-License-Identifier: Apache-2.0
"""The content of YAML files, which remembers the lines that it stands in."""

from pathlib import Path

import yaml

from dm0_ros.errors import Dm0Error, RobotError


class Section(dict):
    """A mapping of a file: knows the file, its own first line, and the line of every key."""

    def __init__(self, path: Path, line: int) -> None:
        super().__init__()
        self.path, self.line = path, line
        self.lines: dict[str, int] = {}

    def line_of(self, key: str) -> int:
        """Line of a key, or the section's own where it has no such key."""
        return self.lines.get(key, self.line)


class Items(list):
    """A list of a file: knows the file and the line of every entry."""

    def __init__(self, path: Path, lines: list[int]) -> None:
        super().__init__()
        self.path, self.lines = path, lines

    def line_of(self, index: int) -> int:
        """Line of an entry."""
        return self.lines[index]


def read_yaml(path: Path, error: type[Dm0Error] = RobotError) -> Section:
    """The mapping in a YAML file.

    Raises ``error`` where the file is absent, broken, no mapping, or has a key twice, of which
    YAML itself would silently keep the last.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        loader.path = path
        content = loader.get_single_data()
    except OSError as cause:
        raise error(f"{path}: cannot be read ({cause.strerror}); check the path") from cause
    except yaml.MarkedYAMLError as cause:
        line = cause.problem_mark.line + 1
        raise error(f"{path}:{line}: is not valid YAML: {cause.problem}") from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise error(f"{path}: is not valid YAML: {cause}") from cause
    if not isinstance(content, Section):
        raise error(f"{path}:1: must hold keys with values, found {content!r}")
    return content


class _Loader(yaml.SafeLoader):
    path: Path

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name = str(key.value)
            if name in lines:
                problem = f"{name} stands in line {lines[name]} already; keep one of the two"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[name] = _line(key)
        return node

    def construct_section(self, node: yaml.MappingNode):
        section = Section(self.path, _line(node))
        yield section
        section.update(self.construct_mapping(node))
        section.lines = {str(key.value): _line(key) for key, _ in node.value}

    def construct_items(self, node: yaml.SequenceNode):
        items = Items(self.path, [_line(item) for item in node.value])
        yield items
        items.extend(self.construct_sequence(node))


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_section)
_Loader.add_constructor("tag:yaml.org,2002:seq", _Loader.construct_items)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
