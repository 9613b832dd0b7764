"""What a command waits for before it begins: modules that it does not need are not imported."""

import subprocess
import sys
from pathlib import Path

SAMPLING = """
import sys
from contextlib import suppress

from rgm.cli import main

sys.argv = ["rgm", "sample", "mnist", "--concept", "3", "--count", "2", "--quiet", "--out", "threes.png"]
with suppress(SystemExit):
    main()
needless = {"torch._dynamo", "sympy", "scipy", "sklearn", "matplotlib", "pandas", "onnx"}
print(sorted(sys.modules.keys() & (needless | {"rgm.counting", "rgm.temporal"})))
"""


def test_sampling_imports_neither_a_compiler_nor_other_kinds_of_models_nor_libraries_for_figures(
    tmp_path: Path,
) -> None:
    done = subprocess.run([sys.executable, "-c", SAMPLING], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    assert (tmp_path / "threes.png").is_file()


TRAINING = """
import sys

import torch

from rgm import SpatialRGM, fit

images, labels = torch.rand(8, 28, 28), torch.arange(8)
fit(SpatialRGM.from_preset("quick"), images, labels, recipe="quick", epochs=3)
print(sorted(sys.modules.keys() & {"torch._dynamo", "sympy"}))
"""


def test_training_does_not_import_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
