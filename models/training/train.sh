#!/bin/sh
# Trains, exports and evaluates the detector. Usage and files: README.md beside this script.
#   train.sh DATA [SIM] [SIMVAL] [TEACHER] [MINUTES]
# or the same as TRAIN_DATA, TRAIN_SIM, ... in the environment. SIM, SIMVAL, TEACHER may be "" (left out). PYTHON names the interpreter that has
# requirements.txt.
set -eu

# Paths are taken from where the caller stands, the work is done beside this script.
full() { [ -z "$1" ] || readlink -f "$1"; }
data=${1:-${TRAIN_DATA:?folder with annotations.json and pictures: first argument or TRAIN_DATA, see README.md}}
data=$(full "$data") sim=$(full "${2:-${TRAIN_SIM:-}}") simval=$(full "${3:-${TRAIN_SIMVAL:-}}")
teacher=$(full "${4:-${TRAIN_TEACHER:-}}") minutes=${5:-${TRAIN_MINUTES:-60}}
cd "$(dirname "$0")"
python=${PYTHON:-python3}
mkdir -p work

set --
[ -z "$teacher" ] || set -- "$@" --teacher "$teacher"
[ -z "$sim" ] || set -- "$@" --sim "$sim"
"$python" train.py --data "$data" --out work/run --minutes "$minutes" --resume "$@"

sources="licensed real pictures (CC BY 4.0, COCO, Open Images)${sim:+ and simulator scenes}"
version=$(date -u +%Y.%m.%d)
for size in 320 416; do
    "$python" export.py work/run/last.pt "work/gate-$size.onnx" --size "$size" --version "$version" --trained-on "$sources"
done
cp work/gate-416.onnx ../gate.onnx
cp work/gate-320.onnx ../gate-320.onnx

set -- ../gate.onnx ../gate-320.onnx
[ -z "$teacher" ] || set -- "$@" "coco:$teacher"
"$python" evaluate.py "$@" --data "$data" ${simval:+--sim "$simval"} --latency
