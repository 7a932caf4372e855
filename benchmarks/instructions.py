# SPDX-License-Identifier: Apache-2.0
"""How many instructions are followed: `dm0 demo`, with its figures."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.record import make_parser, report


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--checkpoint", default="dm0-nano")
    parser.add_argument("--out", default="out/demo")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.json"
        command = [sys.executable, "-m", "dm0_ros.cli", "demo", "--json", str(path)]
        for name in ("episodes", "seed", "checkpoint", "out"):
            command += [f"--{name}", str(getattr(options, name))]
        subprocess.run(command, check=True, stdout=sys.stderr)
        figures = json.loads(path.read_text())
    figures["duration_s"] = round(time.monotonic() - begun, 1)
    report("instructions", figures, options.write)


if __name__ == "__main__":
    main()
