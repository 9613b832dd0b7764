"""Whether two versions of rgm train to the same bytes: every preset on the embedded digits, a few steps each.

    python benchmarks/same_bytes.py COMMIT

compares the working tree with a commit of this repository. The tensors of the trained models, their samples and codes
must be equal bit by bit, and so must every number under `test` in metrics.json that both versions write. Exits 1 where
anything differs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS: dict[str, list[str]] = {
    "standard": ["--epochs", "0.6"],
    "quick": ["--epochs", "0.6"],
    "pretrained": ["--epochs", "0.6"],
    "seed": ["--epochs", "0.5"],
    "three-level": ["--epochs", "0.4"],
    "likelihood": ["--epochs", "0.6"],
    "colour32": ["--size", "32", "--epochs", "0.3"],
    "colour64": ["--size", "64", "--epochs", "0.2"],
    "paper": [],
    "counting": [],
}
"""Options of `rgm train` beside the preset, the data and the seed."""


def digest(folder: Path) -> dict[str, str]:
    """Return what must not change of a run: a checksum of every tensor and array, and the numbers."""
    import numpy as np
    from safetensors.numpy import load_file

    found = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        found[f"weights {name}"] = hashlib.sha256(tensor.tobytes()).hexdigest()
    for file in ("codes.npz", "samples.npz"):
        with np.load(folder / file) as arrays:
            for name in arrays.files:
                found[f"{file} {name}"] = hashlib.sha256(arrays[name].tobytes()).hexdigest()
    for name, value in json.loads((folder / "metrics.json").read_text())["test"].items():
        found[f"test {name}"] = repr(value)
    return found


def trained(source: Path, preset: str, out: Path) -> dict[str, str]:
    """Return the digest of a preset trained by the version whose packages lie in `source`."""
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}

    def rgm(*arguments: str) -> None:
        command = [sys.executable, "-m", "rgm", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")

    common = ["--data", "digits", "--seed", "1", "--device", "cpu", "--quiet"]
    rgm("train", "--preset", preset, *common, *RUNS[preset], "--out", str(out))
    rgm("encode", str(out), "--out", str(out / "codes.npz"))
    rgm("sample", str(out), "--count", "2", "--out", str(out / "samples.npz"))
    return digest(out)


def main() -> None:
    """Compare the working tree with a commit, preset by preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--presets", nargs="*", default=list(RUNS), choices=list(RUNS))
    arguments = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as place:
        old = Path(place) / "old"
        subprocess.run(
            ["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(old), arguments.commit], check=True
        )
        try:
            for preset in arguments.presets:
                before = trained(old / "src", preset, Path(place) / f"{preset}-before")
                after = trained(ROOT / "src", preset, Path(place) / f"{preset}-after")
                shared = before.keys() & after.keys()
                changed = sorted(name for name in shared if before[name] != after[name])
                gone = sorted(before.keys() ^ after.keys())
                different += bool(changed)
                print(f"{preset}: {len(shared)} compared, {', '.join(changed) or 'all equal'}", flush=True)
                if gone:
                    print(f"  in one version alone: {', '.join(gone)}", flush=True)
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(old)], check=True)
    raise SystemExit(1 if different else 0)


if __name__ == "__main__":
    main()
