# SPDX-License-Identifier: Apache-2.0
"""What model_latency.py found so far: a record, written after every setting, and a table."""

from __future__ import annotations

import dataclasses
import platform
import resource
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from support.record import make_record, read_gpu, to_text, write_result

STAGES = ("preprocessing", "upload", "vision", "prefix", "flow", "network", "download")


class LatencyReport:
    """Grows by one setting at a time; whatever ends the run early leaves what was found."""

    def __init__(self, name: str, figures: dict, path: Path | None, write: bool) -> None:
        """`path`: a file for the JSON; `write`: also into results/, under `name`."""
        self.figures = {**figures, "versions": describe_versions(), "settings": []}
        self._record = make_record(name, self.figures)
        self._path = path
        self._write = write

    @property
    def record(self) -> dict:
        """What is written."""
        return self._record

    def add(self, setting: dict) -> None:
        """Take one setting in, and write all."""
        clocks = read_gpu()
        self.figures["settings"].append({**setting, **({"gpu": clocks} if clocks else {})})
        self.figures["peak_host_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        self.figures["throughput"] = list(compare_batches(self.figures["settings"]))
        self.save()

    def save(self) -> None:
        """Write all that is there."""
        text = to_text(to_plain(self._record))
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(text)
        if self._write:
            write_result(self._record["benchmark"], text)

    def make_table(self, ranked: bool) -> str:
        """One line a contender and setting; `ranked`: also the kernels that take longest."""
        figures = self.figures
        lines = [
            f"{figures['size']} on {figures['device']}: ms from frames to actions; "
            f"floors are those of {figures['floors_of']}"
        ]
        for setting in figures["settings"]:
            lines += ["", *describe_setting(setting)]
            if ranked:
                lines += list(rank_kernels(setting))
        lines += [f"{name}: {why}" for name, why in figures.get("refused", {}).items()]
        lines += [describe_text(row) for row in figures.get("text", ())]
        for row in figures.get("throughput", ()):
            lines.append(
                f"{row['name']} {row['dtype']}, {row['views']} views: {row['batch']} robots in "
                f"one call get {row['ratio']:.2f} x the plans of one"
            )
        return "\n".join(lines)


def describe_setting(setting: Mapping) -> Iterator[str]:
    """Lines of a table for a terminal."""
    yield (
        f"{setting['views']} views ({setting['still']} still) x {setting['batch']} robots, "
        f"text {setting['text']}, {setting['steps']} steps; "
        f"pictures move the actions by {100 * setting['sight']:.0f} %"
    )
    yield (
        f"{'contender':22}{'p50':>9}{'p90':>9}{'p99':>9}{'rounds':>16}{'/A':>9}{'/B':>9}"
        f"{'launches':>9}{'error':>9}{'to eager':>9}  stages"
    )
    for entry in setting["contenders"]:
        yield describe_entry(entry)
    if against := setting.get("against"):
        yield (
            f"the reference takes {against['ratio_end_to_end']} x as long as {against['fastest']}"
            f" ({against['ratio_network']} x without preparing pictures); relative error "
            f"{against['error']:.1e}, largest difference {against['largest_difference']:.1e}"
        )


def describe_text(entry: Mapping) -> str:
    """One contender's line on generated text."""
    found = entry["ms_per_token"]
    what = f"{entry['name']} {entry['dtype']}, text behind {entry['views']} views: "
    if not found["count"]:
        return what + entry.get("refused", "no turn was in time")
    return what + (
        f"{found['p50']:.3f} ms a token (p99 {found['p99']:.3f}), "
        f"floor {entry['floor_ms']:.3f}, ratio {entry['ratio']:.4g}"
    )


def rank_kernels(setting: Mapping) -> Iterator[str]:
    """Lines of what each contender's GPU was busy with."""
    for entry in setting["contenders"]:
        profile = entry.get("profile", {})
        if "ranked" in profile:
            yield f"  {entry['name']} {entry['dtype']}: busy {profile['busy_ms']} ms"
        for row in profile.get("ranked", ())[:10]:
            yield f"    {row['ms']:8.3f} ms {row['count']:5d} x {row['kernel'][:90]}"


def describe_entry(entry: Mapping) -> str:
    """One contender's line."""
    label = f"{entry['name']} {entry['dtype']}"
    if "ms" not in entry or not entry["ms"]["total"]["count"]:
        return f"{label:22}{entry.get('refused', 'no turn was in time')}"
    total, ratio = entry["ms"]["total"], entry.get("ratio", {})
    launches = entry["profile"].get("kernels", entry["profile"].get("dispatched"))
    stages = " ".join(
        f"{name} {entry['ms'][name]['p50']:.2f}" for name in STAGES if name in entry["ms"]
    )
    beyond = entry.get("gate", {}).get("beyond", ())
    halves = "/".join(f"{value:.2f}" for value in entry["ms"]["rounds_p50"] if value is not None)
    return (
        f"{label:22}{total['p50']:9.2f}{total['p90']:9.2f}{total['p99']:9.2f}{halves:>16}"
        f"{ratio.get('a', float('nan')):9.4g}{ratio.get('b', float('nan')):9.4g}{launches:9d}"
        f"{entry['error']:9.1e}{entry.get('error_to_eager', float('nan')):9.1e}  {stages}"
        + "".join(f"\n    BEYOND ITS GATE: {words}" for words in beyond)
        + ("" if entry["repeatable"] else "\n    NOT REPEATABLE: the same input, other actions")
    )


def compare_batches(settings: list[dict]) -> Iterator[dict]:
    """How many times the plans of one robot a batch makes in the same time."""
    alone = {
        (setting["views"], entry["name"], entry["dtype"]): entry["ms"]["total"].get("p50")
        for setting in settings
        if setting["batch"] == 1 and not setting["still"]
        for entry in setting["contenders"]
        if "ms" in entry
    }
    for setting in settings:
        for entry in setting["contenders"]:
            key = setting["views"], entry["name"], entry["dtype"]
            together = entry.get("ms", {}).get("total", {}).get("p50")
            if setting["batch"] > 1 and together and alone.get(key):
                ratio = setting["batch"] * alone[key] / together
                yield {
                    **dict(zip(("views", "name", "dtype"), key, strict=True)),
                    "batch": setting["batch"],
                    "ratio": round(ratio, 3),
                }


def compare_to_reference(entries: list[dict]) -> dict | None:
    """How many times longer the reference takes than the fastest of ours in its dtype."""
    timed = [entry for entry in entries if entry.get("ms", {}).get("total", {}).get("count")]
    theirs = next((entry for entry in timed if entry["name"] == "reference"), None)
    if theirs is None:
        return None
    ours = [
        entry
        for entry in timed
        if entry["name"] not in ("reference", "eager") and entry["dtype"] == theirs["dtype"]
    ]
    if not ours:
        return None
    best = min(ours, key=lambda entry: entry["ms"]["total"]["p50"])
    took = best["ms"]["total"]["p50"]
    return {
        "fastest": f"{best['name']} {best['dtype']}",
        "ratio_end_to_end": round(theirs["ms"]["total"]["p50"] / took, 2),
        "ratio_network": round(theirs["ms"]["network"]["p50"] / took, 2),
        "error": best["error_to_reference"],
        "largest_difference": best["largest_difference_to_reference"],
    }


def describe_versions() -> dict:
    """Of everything that a time depends on."""
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("triton", "transformers", "flash_attn", "flash_attn_3"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    if torch.cuda.is_available():
        found["cuda"] = torch.version.cuda
        found["cudnn"] = torch.backends.cudnn.version()
        found["capability"] = list(torch.cuda.get_device_capability())
    return found


def to_plain(value: Any) -> Any:
    """As JSON has it: data classes as objects, whatever JSON has no form for as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items() if not callable(item)}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)
