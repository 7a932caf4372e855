# SPDX-License-Identifier: Apache-2.0
"""YAML into frozen dataclasses: no key unknown, none missing, every number a number."""

import dataclasses
import math
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from dm0_ros.errors import RobotError


def read_yaml(path: Path, error: type[Exception] = RobotError) -> dict[str, Any]:
    """The mapping in a YAML file; raises ``error`` where it is absent, broken or no mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise error(f"{path}: cannot be read ({cause.strerror}); check the path") from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise error(f"{path}: is not valid YAML: {cause}") from cause
    if not isinstance(content, dict):
        raise error(f"{path}: must hold a mapping of keys, found {type(content).__name__}")
    return content


def build(cls: type, content: Any, where: str, error: type[Exception] = RobotError) -> Any:
    """Make the dataclass ``cls`` of a mapping, checking keys and types all the way down.

    ``where`` names the place in the file for messages. Fields with a default may be left out.
    """
    if not isinstance(content, Mapping):
        raise error(f"{where}: expected a mapping, found {content!r}")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    unknown = [str(key) for key in content if key not in fields]
    if unknown:
        raise error(
            f"{where}: unknown key {', '.join(unknown)}; known keys are {', '.join(fields)}"
        )
    missing = [name for name, field in fields.items() if _required(field) and name not in content]
    if missing:
        raise error(f"{where}: missing key {', '.join(missing)}; add it")
    hints = get_type_hints(cls)
    values = {
        key: _convert(hints[key], value, f"{where}.{key}", error) for key, value in content.items()
    }
    return cls(**values)


def _required(field: dataclasses.Field) -> bool:
    no_default = field.default is dataclasses.MISSING
    return no_default and field.default_factory is dataclasses.MISSING


def _convert(kind: Any, value: Any, where: str, error: type[Exception]) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _convert(get_args(kind)[0], value, where, error)
    if origin is tuple:
        return _convert_tuple(get_args(kind), value, where, error)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise error(f"{where}: expected a mapping, found {value!r}")
        inner = get_args(kind)[1]
        return {
            str(key): _convert(inner, item, f"{where}.{key}", error) for key, item in value.items()
        }
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where, error)
    return _convert_scalar(kind, value, where, error)


def _convert_tuple(kinds: tuple, value: Any, where: str, error: type[Exception]) -> tuple:
    if not isinstance(value, (list, tuple)):
        raise error(f"{where}: expected a list, found {value!r}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise error(f"{where}: expected {len(kinds)} entries, found {len(value)}")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(_convert(kind, item, f"{where}[{index}]", error) for index, (kind, item) in pairs)


def _convert_scalar(kind: Any, value: Any, where: str, error: type[Exception]) -> Any:
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        choices = [member.value for member in kind]
        if value in choices:
            return kind(value)
        raise error(f"{where}: {value!r} is not one of {', '.join(map(str, choices))}")
    elif kind is Any or type(value) is kind:
        return value
    raise error(f"{where}: expected a {kind.__name__}, found {value!r}")
