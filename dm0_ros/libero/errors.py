# SPDX-License-Identifier: Apache-2.0
"""Errors of this room."""

from dm0_ros.errors import Dm0Error


class LiberoError(Dm0Error):
    """A suite, a task or an episode that there is not, a record that is of another run, or a
    LIBERO that is missing, incomplete, or of a version that does not fit."""
