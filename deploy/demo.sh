#!/usr/bin/env bash
# A pipeline before your eyes, without Kafka: the bids of an auction house, counted per auction by two Wasm operators. While it runs, one of them is swapped for
# a second version, and then for a third that has a bug and is refused.
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
Both operators are Wasm components; the pipeline is deploy/demo/pipeline.yaml. Soon one of them is swapped.
TEXT

rm -f "$directory/results"
mkfifo "$directory/results"
news=$directory/news
: >"$news"
python3 "$here/demo/table.py" "$news" <"$directory/results" &
table=$!
# Not a child of a pipe: its exit code is asked for below. In a group of its own, so that Ctrl-C reaches only this script.
set -m
"$binary" run "$pipeline" --state-dir "$directory/state" >"$directory/results" 2>"$directory/log" </dev/null &
engine=$!
set +m

# Swaps the counting operator and says what came of it; the stream goes on either way.
swap() {
  local said
  echo "\$ millstream swap count $1" >>"$news"
  said=$("$binary" swap count "$root/plugins/dist/$1" "$pipeline" --state-dir "$directory/state" 2>&1) || true
  echo "${said%%$'\n'*}" >>"$news"
}

# At a third and two thirds of the time, if there is little.
second_at=7 third_at=14
if [ -n "$seconds" ] && [ "$seconds" -lt 21 ]; then
  second_at=$((seconds / 3)) third_at=$((2 * seconds / 3))
fi
# A busy machine takes a while until the pipeline can be asked for anything.
while [ -z "$over" ] && kill -0 "$engine" 2>/dev/null && [ ! -S "$directory/state/control.sock" ]; do
  sleep 0.1 || true
done
begun=$SECONDS step=1
while [ -z "$over" ] && kill -0 "$engine" 2>/dev/null; do
  ran=$((SECONDS - begun))
  [ -n "$seconds" ] && [ "$ran" -ge "$seconds" ] && break
  if [ "$step" = 1 ] && [ "$ran" -ge "$second_at" ]; then
    step=2
    swap count-2.wasm &
  elif [ "$step" = 2 ] && [ "$ran" -ge "$third_at" ]; then
    step=3
    swap count-3.wasm &
  fi
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
  less plugins/count/examples/count_3.rs   the version that was refused
  millstream swap --help                while a pipeline runs: another version, --check, rollback
  millstream new my-operator            one of your own
  millstream validate deploy/demo/pipeline.yaml
TEXT
