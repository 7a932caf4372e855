# SPDX-License-Identifier: Apache-2.0
"""From the results of bags to one table, one comparison and one page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dm0_ros.evaluation.comparison import compare
from dm0_ros.evaluation.evaluate import AGAINST, CHECKPOINT
from dm0_ros.evaluation.report import write_report
from dm0_ros.evaluation.result import read_result
from dm0_ros.evaluation.summary import summarise

FIGURES = "figures.json"


def merge(folder: Path, places: Mapping[str, Sequence[Path]]) -> dict:
    """Sum up what is in ``places``, folders of results by setting; returns the figures.

    They are ``checkpoint`` and, where there is another setting, ``against``, each as `summarise`
    has it, and ``comparison``, as `compare` has it. Writes figures.json and report.html into
    ``folder``. Raises `Dm0Error` where the results cannot be counted together.
    """
    results = {name: [read_result(place) for place in found] for name, found in places.items()}
    figures: dict = {name: summarise(found) for name, found in results.items()}
    figures["comparison"] = None
    if AGAINST in results:
        figures["comparison"] = compare(results[CHECKPOINT], results[AGAINST])
    draft = folder / f".{FIGURES}"
    draft.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n")
    draft.replace(folder / FIGURES)
    write_report(folder, figures[CHECKPOINT], results[CHECKPOINT], figures["comparison"])
    return figures
