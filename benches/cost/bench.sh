#!/bin/sh
# Makes the streams and measures. Usage: bench.sh CLIP [RESULTS.json]; CLIP is any recording of a fixed camera, best at
# 1920x1080 and 25 pictures a second. Needs ffmpeg, mosquitto, gst-launch-1.0, taskset, and Python with requirements.txt.
# PARTS: which of cost, once, sustained, profile.
set -eu
clip=$(readlink -f "${1:?a recording of a fixed camera: first argument, or CLIP= of make bench}")
out=${2:-bench-results.json}
here=$(dirname "$0")
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# As cameras code: keyframes four seconds apart, no B-pictures, 4 Mbit/s.
coded="-an -pix_fmt yuv420p -c:v libx264 -preset veryfast -g 100 -keyint_min 100 -sc_threshold 0 -bf 0 -b:v 4M -maxrate 4M -bufsize 4M"
ffmpeg -v error -stream_loop -1 -i "$clip" -t 60 -vf scale=1920:1080 -r 25 $coded "$work/busy.mp4"
# The first picture with the noise of a sensor, coded as cameras do that need not fill a bit rate. Between, something moves: only
# then is a camera known to tell of movement by the sizes of its pictures.
varying="-an -pix_fmt yuv420p -c:v libx264 -preset veryfast -g 100 -keyint_min 100 -sc_threshold 0 -bf 0 -crf 26 -maxrate 4M -bufsize 4M"
ffmpeg -v error -stream_loop -1 -i "$clip" -t 12 -vf scale=1920:1080 -r 25 $varying "$work/moves.mp4"
ffmpeg -v error -i "$clip" -frames:v 1 -vf scale=1920:1080 "$work/still.png"
# Each still part in one go: a coder that begins anew spends bits on pictures in which nothing moves.
for seconds in 20 80; do
	ffmpeg -v error -loop 1 -framerate 25 -i "$work/still.png" -t "$seconds" -vf noise=alls=4:allf=t $varying "$work/still$seconds.mp4"
done
for part in still20 moves still80 moves still20; do echo "file '$work/$part.mp4'"; done >"$work/idle.txt"
ffmpeg -v error -f concat -safe 0 -i "$work/idle.txt" -c copy "$work/idle.mp4"
"$python" "$here/bench.py" --busy "$work/busy.mp4" --idle "$work/idle.mp4" --parts "${PARTS:-cost,once,sustained}" --out "$out"
