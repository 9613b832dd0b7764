"""What the wheel and the sdist hold: all that is needed, and nothing more."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

(wheel,), (sdist,) = (list(Path(sys.argv[1]).glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
tracked = set(subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.split("\n"))
package = {name.removeprefix("src/") for name in tracked if name.startswith("src/rgm/")}

with zipfile.ZipFile(wheel) as archive:
    found = {name for name in archive.namelist() if ".dist-info/" not in name}
assert found == package, f"the wheel lacks {package - found} and has {found - package} too many"
assert wheel.stat().st_size < 15e6, f"the wheel has {wheel.stat().st_size:,} bytes"

with tarfile.open(sdist) as archive:
    inside = {name.partition("/")[2] for name in archive.getnames()} - {"PKG-INFO"}
assert inside <= tracked, f"the sdist has what git has not: {inside - tracked}"
needed = {f"src/{name}" for name in package} | {"pyproject.toml", "constraints.txt", "CHANGELOG.md", "LICENSE"}
assert needed <= inside, f"the sdist lacks {needed - inside}"
print(f"{wheel.name}: {len(found)} files, {wheel.stat().st_size / 1e6:.1f} MB; {sdist.name}: {len(inside)} files")
