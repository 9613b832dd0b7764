"""`rgm explore`."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from command_line import refused


def test_explore_serves_a_page_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "rgm", "explore", "mnist", "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        for _ in range(50):
            try:
                with urllib.request.urlopen(f"{address}api/about", timeout=10) as answer:
                    about = json.load(answer)
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        assert about["name"] == "mnist"
        port = address.rstrip("/").rsplit(":", 1)[1]
        assert f"port {port} is in use" in refused("explore", "mnist", "--port", port, "--no-browser")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130


def test_a_page_that_cannot_be_written_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    said = refused("explore", "mnist", "--export", str(tmp_path / "page"), "--runtime", str(tmp_path))
    assert "ort.wasm.bundle.min.mjs" in said
    assert "npm install onnxruntime-web" in said
    assert not (tmp_path / "page").exists()
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (tmp_path / name).touch()
    (tmp_path / "page").touch()
    assert "page" in refused("explore", "mnist", "--export", str(tmp_path / "page"), "--runtime", str(tmp_path))
