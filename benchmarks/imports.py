"""What importing rgm costs beyond PyTorch: fresh processes, in pairs, alternating; median and spread.

python benchmarks/imports.py
"""

import statistics
import subprocess
import sys

PAIRS = 11
IMPORTS = {"import rgm": "import rgm", "what most programs need": "from rgm import SpatialRGM, fit, load, load_data"}
PROGRAM = """
import time, torch
start = time.perf_counter()
{line}
print(time.perf_counter() - start)
"""


def cost(line: str) -> float:
    """Return the seconds that an import takes in a process that has PyTorch already."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(line=line)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print the cost of each import beyond PyTorch's own."""
    for line in IMPORTS.values():  # once for the disk's cache
        cost(line)
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(PAIRS):
        for name, line in IMPORTS.items():
            found[name].append(cost(line))
    for name, times in found.items():
        print(f"{name}: {statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f})")


if __name__ == "__main__":
    main()
