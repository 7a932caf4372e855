# SPDX-License-Identifier: Apache-2.0
"""How every benchmark reports: JSON with what was measured, where, when and of which commit."""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parents[1] / "results"


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"also into {RESULTS}")
    return parser


def report(name: str, figures: dict, write: bool) -> None:
    """Write the figures to stdout, and into results/ where asked."""
    record = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "command": " ".join(["python", *sys.argv]),
        "machine": describe_machine(),
        "figures": figures,
    }
    text = json.dumps(record, indent=2) + "\n"
    sys.stdout.write(text)
    if write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(text)


def describe_machine() -> dict:
    """Processor, cores, system, and how busy the machine was: others' load spoils figures."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def summarise(values, digits: int = 3) -> dict:
    """Median, 99th percentile, greatest and count."""
    values = np.asarray(values, dtype=float)
    if not len(values):
        return {"count": 0}
    p50, p99 = np.percentile(values, [50, 99])
    return {
        "p50": round(float(p50), digits),
        "p99": round(float(p99), digits),
        "max": round(float(values.max()), digits),
        "count": len(values),
    }


def _commit() -> str:
    root = Path(__file__).parent
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or "unknown"
