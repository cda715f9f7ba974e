#!/bin/sh
# Every accelerator on the bundled text model, on the same prompts, seeds and clock: README's table, and docs/methods.md.
# From the repository's root, whose model it measures, not the one that MIGM was built with.
#   sh benches/methods.sh [MIGM]
# The machine should do nothing else for the first minutes, in which methods are timed; an hour and a half on two cores.
# 640 pictures at the points of interest, 256 and 64 elsewhere. Nothing here was chosen by these prompts: optimal:B and the factors of
# adaptive runs come from `migm calibrate` (benches/calibrate.sh), which has prompts and seeds of its own, the rest is as published or the program's default.
#   POINTS=64 sh benches/methods.sh [MIGM]
# has so many pictures of README's rows alone, in a few minutes (benches/results/methods-points.*); BACKEND=cpu-bf16 before it computes in
# bf16 (640 of them: three quarters of an hour on a Xeon with AMX). MODEL=scenes-class before it measures the class model, SPLIT=held-out
# combinations that training never shows; results are named after them.
set -eu
migm=${1:-migm}
few="pictures=64"
count=${POINTS:-640}
some=
[ "$count" -le 256 ] || some="pictures=256"
model=${MODEL:-scenes-text}
results=benches/results/methods
[ -z "${POINTS:-}" ] || results=$results-points
[ -z "${SPLIT:-}" ] || results=$results-$SPLIT
[ "$model" = scenes-text ] || results=$results-$model
backend=${BACKEND:-cpu}
# Threads of bf16 work on one picture together.
workers="--workers 2"
[ "$backend" = cpu ] || workers=
set -- --method "vanilla steps=7" \
    --method "vanilla steps=6" \
    --method "vanilla steps=5 $some" \
    --method "vanilla steps=4 $some" \
    --method "shortcut refresh=uniform:4 $some" \
    --method "reuse refresh=uniform:4 $some" \
    --method "reuse refresh=uniform:7" \
    --method "shortcut refresh=optimal:4 guidance=0.1,0.6 $some" \
    --method "shortcut steps=16 refresh=optimal:4 guidance=0.1,0.6 $some" \
    --method "reuse steps=16 refresh=optimal:4 guidance=0.1,0.6 $some" \
    --method "shortcut steps=16 refresh=optimal:7 guidance=0.1,0.6" \
    --method "reuse steps=16 refresh=optimal:7 guidance=0.1,0.6" \
    --method "recap refresh=uniform:4 $few" \
    --method "ml-cache $few"
[ -n "${POINTS:-}" ] || set -- "$@" --refreshes \
    --method "vanilla steps=16 $few" \
    --method "vanilla order=halton schedule=halton $few" \
    --method "vanilla spread=1.5 $few" \
    --method "vanilla guidance=0.1,0.6 $few" \
    --method "shortcut refresh=uniform:8 $few" \
    --method "shortcut refresh=uniform:6 $few" \
    --method "shortcut refresh=optimal:4 $few" \
    --method "shortcut refresh=adaptive:0.5,4 $few" \
    --method "shortcut refresh=uniform:4 order=halton schedule=halton $few" \
    --method "shortcut refresh=uniform:4 corrector=0.02 $few" \
    --method "reuse refresh=uniform:8 $few" \
    --method "taylor:1 refresh=uniform:4 $few" \
    --method "taylor:2 refresh=uniform:4 $few" \
    --method "taylorseer:1 refresh=uniform:4 $few" \
    --method "dllm-cache $few" \
    --method "ml-cache refresh=uniform:4 $few"
exec "$migm" eval --model "assets/models/$model" --split "${SPLIT:-seen}" --backend "$backend" --seed 7 --count "$count" --time-apart 3 $workers \
    --report "$results.json" --plot "$results.svg" --plot-by flops "$@"
