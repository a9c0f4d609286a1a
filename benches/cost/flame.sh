#!/bin/sh
# Where the agent's time goes, with a busy and with an idle camera: prints the ten symbols that take most by themselves, and
# writes folded stacks for any flame graph. Usage: flame.sh CLIP; needs perf, and what bench.sh needs to run an agent.
set -eu
command -v perf >/dev/null || { echo "perf is missing (Debian: linux-perf)" >&2; exit 1; }
PARTS=profile exec "$(dirname "$0")/bench.sh" "$@"
