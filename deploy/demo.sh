#!/usr/bin/env bash
# A pipeline before your eyes, without Kafka: the bids of an auction house, counted per auction by two Wasm operators.
#
#   make demo                   builds what is needed, then runs until Ctrl-C
#   DEMO_SECONDS=20 make demo   ends by itself
#
# MILLSTREAM_BIN  the binary          (default: target/release/millstream)
# DEMO_DIR        where its state is  (default: a new directory, removed at the end; name one to go on where it stopped)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
binary=${MILLSTREAM_BIN:-$root/target/release/millstream}
pipeline=$here/demo/pipeline.yaml
seconds=${DEMO_SECONDS:-}

[ -x "$binary" ] || { echo "demo: there is no $binary: run 'make demo', which builds it" >&2; exit 1; }
[[ $seconds =~ ^[0-9]*$ ]] || { echo "demo: DEMO_SECONDS is \"$seconds\", not a number" >&2; exit 2; }

if [ -n "${DEMO_DIR:-}" ]; then
  directory=$DEMO_DIR
  mkdir -p "$directory"
else
  directory=$(mktemp -d "${TMPDIR:-/tmp}/millstream-demo.XXXXXX")
fi
table='' engine=''

clean_up() {
  trap - EXIT INT TERM HUP
  [ -z "$engine" ] || kill -TERM "$engine" 2>/dev/null || true
  wait 2>/dev/null || true
  [ -n "${DEMO_DIR:-}" ] || rm -rf "$directory"
}
trap clean_up EXIT
# Ctrl-C and the end of the time are the same good end.
over=''
trap 'over=1' INT TERM HUP

cat <<TEXT
Millstream: 20 000 events a second of an auction house -> keep the bids -> count them per auction -> this table.
Both operators are Wasm components; the pipeline is deploy/demo/pipeline.yaml.
TEXT

rm -f "$directory/results"
mkfifo "$directory/results"
python3 "$here/demo/table.py" <"$directory/results" &
table=$!
# Not a child of a pipe: its exit code is asked for below. In a group of its own, so that Ctrl-C reaches only this script.
set -m
"$binary" run "$pipeline" --state-dir "$directory/state" >"$directory/results" 2>"$directory/log" </dev/null &
engine=$!
set +m

begun=$SECONDS
while [ -z "$over" ] && kill -0 "$engine" 2>/dev/null; do
  [ -n "$seconds" ] && [ $((SECONDS - begun)) -ge "$seconds" ] && break
  sleep 0.2 || true
done

code=0
kill -TERM "$engine" 2>/dev/null || true
wait "$engine" || code=$?
engine=''
shown=0
wait "$table" || shown=$?
rm -f "$directory/results"
if [ "$code" != 0 ]; then
  echo "demo: millstream ended with exit code $code; its log ends:" >&2
  tail -n 20 "$directory/log" >&2
  exit "$code"
fi
[ "$shown" = 0 ] || { echo "demo: nothing came out; the log ends:" >&2; tail -n 20 "$directory/log" >&2; exit 1; }

cat <<TEXT

It drained, committed and ended. What to try next:
  DEMO_DIR=/tmp/demo make demo          twice, and kill -9 it in between: the counts go on where they were
  edit deploy/demo/pipeline.yaml        module: ../../plugins/dist/sum-by-key.wasm, config: { pointer: /bid/price }
  less plugins/count/src/lib.rs         the operator you saw, and its tests
  millstream new my-operator            one of your own
  millstream validate deploy/demo/pipeline.yaml
TEXT
