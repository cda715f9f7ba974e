#!/bin/sh
# The best full steps of the bundled text model, for what benches/methods.sh runs by them: written into its schedules.json,
# along 24 runs of vanilla each; five minutes on two cores.
# From the repository's root; MODEL=scenes-class before it is of the class model.
#   sh benches/calibrate.sh [MIGM]
set -eu
migm=${1:-migm}
calibrate() {
    "$migm" calibrate "assets/models/${MODEL:-scenes-text}" --backend "${BACKEND:-cpu}" --count 24 "$@"
}
calibrate
calibrate --guidance-interval 0.1,0.6
calibrate --guidance-interval 0.1,0.6 --steps 16
calibrate --guidance-interval 0.1,0.6 --steps 16 --predictor reuse
calibrate --steps 16
