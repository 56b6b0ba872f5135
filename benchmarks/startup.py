"""How fast Orchard starts: ``import orchard`` and ``orchard --help``.

    python benchmarks/startup.py [--runs 15]

Every run is a process of its own; they take turns with an empty Python, so that what the machine
costs is seen beside what Orchard adds. Prints medians, and exits with 1 where a budget is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

WAYS = {
    "python": [sys.executable, "-c", "pass"],
    "import orchard": [sys.executable, "-c", "import orchard"],
    "orchard --help": [str(Path(sys.executable).with_name("orchard")), "--help"],
    "orchard submit --help": [str(Path(sys.executable).with_name("orchard")), "submit", "--help"],
}
BUDGETS = {"import orchard": 0.25, "orchard --help": 0.4}


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    for command in WAYS.values():
        _seconds(command)  # compiles, and fills the disk's cache
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(runs):
        for name, command in WAYS.items():
            found[name].append(_seconds(command))
    base = median(found["python"])
    missed = False
    for name, seconds in found.items():
        middle, budget = median(seconds), BUDGETS.get(name)
        missed |= budget is not None and middle > budget
        told = f", budget {budget} s" if budget else ""
        print(f"{name:<24}{middle:.3f} s  ({middle / base:4.1f} x an empty Python{told})")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
