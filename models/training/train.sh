#!/bin/sh
# Trains, exports and evaluates the detector. Usage and files: README.md beside this script.
#   train.sh DATA TEACHER [SIM] [SIMVAL] [MINUTES]
# or the same as TRAIN_DATA, TRAIN_TEACHER, ... in the environment. SIM, SIMVAL may be "" (left out). PYTHON names the interpreter that has
# requirements.txt.
set -eu

# Paths are taken from where the caller stands, the work is done beside this script.
full() { [ -z "$1" ] || readlink -f "$1"; }
data=${1:-${TRAIN_DATA:?folder with annotations.json and pictures: first argument or TRAIN_DATA, see README.md}}
teacher=${2:-${TRAIN_TEACHER:?YOLOX-nano as ONNX: second argument or TRAIN_TEACHER, see README.md}}
data=$(full "$data") teacher=$(full "$teacher")
sim=$(full "${3:-${TRAIN_SIM:-}}") simval=$(full "${4:-${TRAIN_SIMVAL:-}}") minutes=${5:-${TRAIN_MINUTES:-90}}
cd "$(dirname "$0")"
python=${PYTHON:-python3}
mkdir -p work

# A third of the time for the blocks alone.
"$python" train.py blocks --data "$data" --teacher "$teacher" --out work/blocks --minutes $((minutes / 3)) --batch 24 --resume
"$python" train.py whole --data "$data" --teacher "$teacher" ${sim:+--sim "$sim"} --begin work/blocks/last.pt \
    --out work/whole --minutes $((minutes - minutes / 3)) --resume

sources="licensed real pictures (CC BY 4.0, COCO, Open Images)${sim:+ and simulator scenes}, taught by YOLOX-nano (Apache-2.0)"
version=$(date -u +%Y.%m.%d)
for size in 320 416; do
    "$python" export.py work/whole/last.pt "work/gate-$size.onnx" --size "$size" --version "$version" --trained-on "$sources"
done
cp work/gate-416.onnx ../gate.onnx
cp work/gate-320.onnx ../gate-320.onnx
"$python" evaluate.py ../gate.onnx ../gate-320.onnx "coco:$teacher" --data "$data" ${simval:+--sim "$simval"} --latency
