#!/usr/bin/env bash
# Put the minutes of a GPU to use, what is worth most first: the method's tests on it, the timings of this profile, then
# as many of its cells as fit. What is finished is kept: the same command goes on where it stopped.
#
# usage: profiles/paper/gpu.sh MINUTES [JOBS]
# DEVICE=cpu PARAMS=params.yaml profiles/paper/gpu.sh 10 tries the script where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/../.."
minutes=${1:?usage: profiles/paper/gpu.sh MINUTES [JOBS]}
# To `timeout`, nought is no limit.
[[ $minutes =~ ^[1-9][0-9]*$ ]] || { echo "MINUTES must be a whole number from 1 on, got '$minutes'" >&2; exit 2; }
jobs=${2:-4} device=${DEVICE:-cuda} params=${PARAMS:-profiles/paper/params.yaml}
profile=$(sed -n 's/^profile: *//p' "$params")
left() { echo $((minutes * 60 - SECONDS)); }

# 1. The same checks as on the CPU: maps and gradients, bits, channels-last, autocast, memory.
timeout "$(left)" python -m pytest -q tests/batchcam/test_device.py || exit

# 2. The stage `time`; it goes on after its last finished group.
if [ ! -f "results/$profile/timing-$device.json" ] && [ "$(left)" -gt 60 ]; then
    timeout --signal=INT "$(left)" python -m bench time "$device" --params "$params"
fi

# 3. Cells, several side by side, until a minute before the end: it is for the record and the archive.
if [ "$(left)" -gt 120 ]; then
    python -m bench run --params "$params" --jobs "$jobs" --time-limit "$((($(left) - 60) / 60))"
fi
folder=$(dirname "$params")
finished=()
for path in "runs/$profile" "$folder/dvc.lock" "results/$profile/timing-$device.json"; do
    [ -e "$path" ] && finished+=("$path")
done
[ ${#finished[@]} -gt 0 ] || { echo "nothing is finished yet" >&2; exit 1; }
tar --create --file "runs/$profile.tar" "${finished[@]}" && echo "runs/$profile.tar has what is finished"
