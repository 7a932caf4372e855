# SPDX-License-Identifier: Apache-2.0
"""Parquet files as columns of numpy: small ones, and the rows of an episode of large ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dm0_ros.training.sources.sample import BrokenEpisodeError, SourceError

Table = dict[str, Any]  # a column is an array of numbers, or a list of anything else


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """Columns of a Parquet file. Raises `SourceError` where it or one of them is missing."""
    pyarrow, parquet = _import()
    try:
        table = parquet.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pyarrow.ArrowException) as cause:
        raise SourceError(f"{path}: cannot be read ({cause}); fetch the data again") from cause
    missing = [name for name in columns or () if name not in table.column_names]
    if missing:
        raise SourceError(f"{path}: has no column {', '.join(missing)}; fetch the data again")
    return _to_columns(table)


def read_episode_rows(
    path: Path, columns: Sequence[str], start: int, stop: int, name: str
) -> Table:
    """Rows ``start`` to ``stop`` of a Parquet file; reads no row group without one of them.

    Raises `BrokenEpisodeError` with the ``name`` of the episode that they are.
    """
    pyarrow, parquet = _import()
    try:
        with parquet.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            begins = ends - sizes
            groups = np.flatnonzero((begins < stop) & (ends > start)).tolist()
            if not groups or ends[-1] < stop:
                raise BrokenEpisodeError(f"{name}: {path} ends before row {stop}; fetch it again")
            table = file.read_row_groups(groups, columns=list(columns))
    except (OSError, pyarrow.ArrowException) as cause:
        raise BrokenEpisodeError(f"{name}: {path} cannot be read ({cause})") from cause
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise BrokenEpisodeError(f"{name}: {path} has no column {', '.join(missing)}")
    return _to_columns(table.slice(start - begins[groups[0]], stop - start))


def _to_columns(table: Any) -> Table:
    return {name: _to_numpy(table.column(name)) for name in table.column_names}


def _to_numpy(column: Any) -> Any:
    """Numbers (F,), or (F, N) where each row is a list of N; a list of whatever else there is."""
    from pyarrow import compute, types

    kind = column.type
    if types.is_integer(kind) or types.is_floating(kind):
        return column.to_numpy()
    if types.is_list(kind) or types.is_fixed_size_list(kind):
        widths = compute.unique(compute.list_value_length(column))
        if len(widths) == 1 and widths[0].as_py() and types.is_primitive(kind.value_type):
            return compute.list_flatten(column).to_numpy().reshape(-1, widths[0].as_py())
    return column.to_pylist()


def _import() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as cause:
        message = "LeRobot data need the extra 'train'; type 'pip install dm0_ros[train]'"
        raise SourceError(message) from cause
    return pyarrow, parquet
