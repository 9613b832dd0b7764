"""What a command waits for before it begins: modules that a model does not need are not imported."""

import subprocess
import sys

CHECK = """
import sys
import rgm

rgm.load("mnist").sample(3, 2)
needless = {"torch._dynamo", "sympy", "scipy.signal", "scipy.stats", "sklearn", "matplotlib", "pandas", "onnx"}
print(sorted(needless & set(sys.modules)))
"""


def test_loading_a_model_imports_neither_a_compiler_nor_libraries_for_films_or_figures() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
