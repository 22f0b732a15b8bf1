#!/bin/bash
# Installs torch and torchvision into the environment on PATH: install_torch.sh cuda|cpu [INDEX]
set -euo pipefail
kind=$1 index=${2:-}
shopt -s nullglob
wheels=(/wheels/torch-*.whl)
pinned=(-c "$(dirname "$0")/constraints.txt")

case $kind in
  cuda) pip install --quiet "${pinned[@]}" torch torchvision ;;
  cpu)
    if [ ${#wheels[@]} -gt 0 ]; then
      pip install --quiet --find-links /wheels "${wheels[-1]}" torchvision
    elif [ -n "$index" ]; then
      pip install --quiet "${pinned[@]}" --index-url "$index" torch torchvision
    else
      echo "TORCH=cpu needs the address of PyTorch's CPU wheels: --build-arg TORCH_CPU_INDEX=…" \
        "(PyTorch's page 'Get started' names it), or WHEELS_IMAGE" >&2
      exit 2
    fi
    ;;
  *)
    echo "TORCH=$kind: allowed are cuda and cpu" >&2
    exit 2
    ;;
esac
