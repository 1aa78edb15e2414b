#!/usr/bin/env bash
# All processes of one machine: examples/scale/torchrun.sh DATA OUT [PROCESSES] [arguments of train.py]
#
# PROCESSES is a number, or "auto": one for each GPU, or else for each core. A process that dies is started again with
# all others, and the run goes on from its last checkpoint.
#
# For several machines, run this on each, with the same name and the address of one of them, instead of --standalone:
#   --nnodes 4 --rdzv-id pets --rdzv-backend c10d --rdzv-endpoint HOST:29400
set -euo pipefail

data=$1 out=$2 processes=${3:-auto}
exec torchrun --standalone --nproc-per-node "$processes" --max-restarts 3 \
  "$(dirname "$0")/train.py" "$data" --out "$out" "${@:4}"
