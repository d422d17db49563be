#!/bin/sh
# Trains the pose transformer of the lite model and puts it into the package.
#
#     bin/train_motion_lite.sh RUN_FOLDER [RESULTS_FOLDER]
#
# RESULTS_FOLDER: result files to learn from beside the synthetic people. Takes about an hour on two CPU cores.
# See fourd_humans/motion/data/MODEL_CARD.md for how the file in the package was made, and docs/motion.md for its errors.
set -eu
run=$1
results=${2:-}

4dhumans train motion --layout lite --synthetic 2000 ${results:+--data "$results"} --output "$run" \
    --steps 3000 --epoch-steps 100 --batch-size 32 --sequence 96 --queries 24 --held-out 0.03
cp "$run/pose_transformer.safetensors" "$(dirname "$0")/../fourd_humans/motion/data/pose_transformer_lite.safetensors"
4dhumans evaluate motion --synthetic 128 ${results:+--data "$results"} --json "$run/table.json"
