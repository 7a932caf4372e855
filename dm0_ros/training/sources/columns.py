# SPDX-License-Identifier: Apache-2.0
"""Which of the data's numbers are a layout's columns."""

from collections.abc import Mapping, Sequence

import numpy as np

from dm0_ros.training.sources.sample import SourceError


def choose_columns(
    columns: Sequence[str], names: Sequence[str], renamed: Mapping[str, str], where: str
) -> np.ndarray:
    """Positions (N,) among the data's ``names`` of each of ``columns``.

    A column has the same name in the data, or the one that ``renamed`` gives for it. Raises
    `SourceError` that says ``where`` the names stand and which are missing.
    """
    wanted = [renamed.get(column, column) for column in columns]
    missing = [
        column if name == column else f"{column} ({name})"
        for column, name in zip(columns, wanted, strict=True)
        if name not in names
    ]
    if missing:
        raise SourceError(
            f"{where}: has no {', '.join(missing)}, only {', '.join(names)}; "
            "say under 'columns' what the layout's columns are called there",
            key=("columns",),
        )
    return np.array([names.index(name) for name in wanted], np.int64)
