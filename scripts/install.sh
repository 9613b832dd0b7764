#!/usr/bin/env bash
# Make or update the virtual environment: scripts/install.sh [EXTRAS], such as `dev`; without, what a demo needs.
# Interrupted, it goes on with the same command.
set -euo pipefail

extras=${1:-}
python=${PYTHON:-python3}
venv=${VENV:-.venv}
cpu_index=https://download.pytorch.org/whl/cpu

stop() {
  echo "make: $1" >&2
  exit 2
}

# Run a command quietly; where it fails, say in a line why where that is known, else show how it ended.
quietly() {
  local said
  if ! said=$("$@" 2>&1); then
    case $said in
      *"No space left on device"*) stop "the disk is full: $venv takes about 1 GB for a demo and 2 GB for development" ;;
      *"ermission denied"*) stop "$venv cannot be written: mend its permissions, or name another place with VENV=DIR" ;;
    esac
    tail -n 15 <<< "$said" >&2
    stop "the set-up stopped at the lines above; the same command goes on from there"
  fi
}

command -v "$python" > /dev/null || stop "there is no $python: install Python 3.11 or newer, or name one with PYTHON=…"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || stop "Python 3.11 or newer is needed, but $python is $("$python" -c 'import platform; print(platform.python_version())'): name another with PYTHON=…"
if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then # not there, or half made
  "$python" -c 'import ensurepip, venv' 2> /dev/null \
    || stop "$python has no module venv: install it (on Debian and Ubuntu: apt install python3-venv)"
  if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
    stop "$venv is there and no virtual environment: remove it, or name another place with VENV=DIR"
  fi
  quietly "$python" -m venv --clear "$venv"
fi

pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt)
echo "Installing into $venv (a minute or two the first time)"
if ! "$venv/bin/python" -c 'import torch' 2> /dev/null; then
  index=${TORCH_INDEX:-}
  if [ -z "$index" ] && [ "$(uname -s)" = Linux ] && [ ! -e /proc/driver/nvidia/version ]; then
    # No GPU to compute on: the CPU build spares gigabytes, where its index can be reached.
    "${pip[@]}" --retries 0 --timeout 10 --index-url "$cpu_index" torch > /dev/null 2>&1 || quietly "${pip[@]}" torch
  else
    quietly "${pip[@]}" ${index:+--index-url "$index"} torch
  fi
fi
quietly "${pip[@]}" -e ".${extras:+[$extras]}"
"$venv/bin/python" - << 'END'
import torch

build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "ROCm" if torch.version.hip else "CPU"
print(f"Ready: PyTorch {torch.__version__}, the {build} build")
END
