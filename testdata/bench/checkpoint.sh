#!/bin/sh
# How fast lq-quantize makes checkpoints for GPU engines out of a Hugging Face folder, against a copy of that folder to the
# same disk: in turn, with the input in the page cache.
#
#   testdata/bench/checkpoint.sh FOLDER [OUTPUT_FOLDER]        FOLDER: e.g. made by lq_make_model
#
# Environment: LQ_QUANTIZE (the binary; build/tools/lq-quantize), SCHEMES, THREADS (2), REPETITIONS (5), WORK (where the copies
# are written; beside FOLDER). `cp` only fills the page cache; `cp+sync` waits for the disk, as lq-quantize does. Writes
# checkpoint.csv into OUTPUT_FOLDER (without one: bench-checkpoint) and prints a table of medians; speed is input bytes a second.
set -eu

model=${1:?usage: $0 FOLDER [OUTPUT_FOLDER]}
folder=${2:-bench-checkpoint}
ours=${LQ_QUANTIZE:-build/tools/lq-quantize}
schemes=${SCHEMES:-W4A16 W8A8 FP8 FP8_DYNAMIC FP8_BLOCK}
threads=${THREADS:-2}
repetitions=${REPETITIONS:-5}

work=$(mktemp -d "${WORK:-$(dirname "$model")}/bench.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
mkdir -p "$folder"
raw=$folder/checkpoint.csv
echo 'what,threads,repetition,wall_s,user_s,system_s,peak_kib,load' >"$raw"

# measure WHAT REPETITION COMMAND...: adds a line to the table.
measure() {
  what=$1 repetition=$2
  shift 2
  rm -rf "$work/out"
  sync
  load=$(cut -d' ' -f1 /proc/loadavg)
  /usr/bin/time -o "$work/time" -f '%e,%U,%S,%M' "$@" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  echo "$what,$threads,$repetition,$(tail -n 1 "$work/time"),$load" >>"$raw"
}

median() { # of column $2 for what $1
  awk -F, -v what="$1" -v column="$2" '$1 == what { print $column }' "$raw" | sort -n |
    awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

cat "$model"/*.safetensors >/dev/null
for i in $(seq "$repetitions"); do
  for scheme in $schemes; do
    measure cp "$i" cp -r "$model" "$work/out"
    measure "$scheme" "$i" "$ours" -q -t "$threads" "$model" "$work/out" "$scheme"
  done
  measure cp+sync "$i" sh -c 'cp -r "$1" "$2" && sync' sh "$model" "$work/out"
done

bytes=$(cat "$model"/*.safetensors | wc -c)
{
  echo "| what | wall s | GB/s of input | of cp | of cp+sync | CPU s | peak MiB |"
  echo "|---|---|---|---|---|---|---|"
  for what in cp cp+sync $schemes; do
    awk -v what="$what" -v w="$(median "$what" 4)" -v u="$(median "$what" 5)" -v s="$(median "$what" 6)" -v m="$(median "$what" 7)" \
      -v c="$(median cp 4)" -v d="$(median cp+sync 4)" -v b="$bytes" 'BEGIN {
        printf "| %s | %.2f | %.2f | %.0f %% | %.0f %% | %.2f | %.0f |\n", what, w, b / w / 1e9, 100 * c / w, 100 * d / w, u + s, m / 1024 }'
  done
} | tee "$folder/checkpoint.md"
