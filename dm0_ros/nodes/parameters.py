# SPDX-License-Identifier: Apache-2.0
"""Declare a node's parameters: each with a description, a type, and the values it may take."""

from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from dm0_ros.errors import Dm0Error


def declare(
    node: Node,
    name: str,
    default: Any,
    description: str,
    limits: tuple[float, float] | None = None,
    choices: Sequence[str] = (),
    read_only: bool = False,
) -> Any:
    """Declare a parameter of the type of its default, and return its value.

    ``limits`` are the least and the greatest number allowed, ``choices`` the texts allowed.
    Raises `Dm0Error` that names the parameter where the given value does not fit.
    """
    descriptor = ParameterDescriptor(description=description, read_only=read_only)
    if limits and isinstance(default, float):
        low, high = map(float, limits)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif limits:
        low, high = map(int, limits)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    if choices:
        descriptor.additional_constraints = "one of " + ", ".join(choices)
    try:
        value = node.declare_parameter(name, default, descriptor).value
    except InvalidParameterTypeException as error:
        kind = type(default).__name__
        raise Dm0Error(
            f"parameter {name}: expects a {kind} such as {default!r} ({error})"
        ) from error
    except InvalidParameterValueException as error:
        raise Dm0Error(f"parameter {name}: {error}; {description}") from error
    if choices and value not in choices:
        raise Dm0Error(f"parameter {name}: {value!r} is not one of {', '.join(choices)}")
    return value
