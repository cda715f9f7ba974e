#!/bin/sh
# The best full steps of the bundled text model, for what benches/methods.sh runs by them: written into its schedules.json.
# From the repository's root.
#   sh benches/calibrate.sh [MIGM]
set -eu
migm=${1:-migm}
calibrate() {
    "$migm" calibrate assets/models/scenes-text --backend "${BACKEND:-cpu}" --count 32 "$@"
}
calibrate
calibrate --guidance-interval 0.1,0.6
calibrate --guidance-interval 0.1,0.6 --steps 16
calibrate --guidance-interval 0.1,0.6 --steps 16 --predictor reuse
