"""Codes are readable without rgm."""

import subprocess
import sys
from pathlib import Path

import pytest

from rgm.data.images import ImageSet
from rgm.export.arrays import encoded, write
from rgm.model.spatial import SpatialRGM

READER = """
import sys
import numpy as np, pandas as pd
codes = np.load("codes.npz", allow_pickle=False)
table = pd.DataFrame(codes["z1"].reshape(len(codes["z1"]), -1)).assign(label=codes["labels"])
assert not any(name.split(".")[0] in ("rgm", "torch") for name in sys.modules)
print(*table.shape, table.groupby("label").size().sum(), *codes["concept"].argmax(1))
"""


@pytest.mark.parametrize("name", ["quick", "three-level"])
def test_numpy_and_pandas_read_codes(name: str, digits: ImageSet, tmp_path: Path) -> None:
    model = SpatialRGM.from_preset(name).eval()
    arrays = encoded(model, digits)
    write(tmp_path / "codes.npz", arrays)
    done = subprocess.run([sys.executable, "-c", READER], cwd=tmp_path, capture_output=True, text=True, check=True)
    rows, columns, count, *concepts = map(int, done.stdout.split())
    height, width = model.config.levels[0].grid
    assert (rows, columns, count) == (len(digits), height * width + 1, len(digits))
    assert concepts == arrays["concept"].argmax(axis=1).tolist()
