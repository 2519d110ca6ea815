#!/bin/sh
# How fast lq-quantize is against a reference llama-quantize: same model, same threads, in turn.
#
#   testdata/bench/quantize.sh REFERENCE_BINARY MODEL.gguf [OUTPUT_FOLDER]
#
# Environment: LQ_QUANTIZE (the binary; build/tools/lq-quantize), TYPES, THREADS (2), REPETITIONS (3), IMATRIX (a file: both
# tools get it). The model is read once before, so that it is in the page cache; outputs go to a temporary folder
# (TMPDIR) and are compared byte for byte. Writes raw.csv into OUTPUT_FOLDER (without one: bench-quantize) and
# prints a table of medians.
#
# For Q8_0 and Q4_0 the table also has `cp` of the same output.
set -eu

reference=${1:?usage: $0 REFERENCE_BINARY MODEL.gguf [OUTPUT_FOLDER]}
model=${2:?usage: $0 REFERENCE_BINARY MODEL.gguf [OUTPUT_FOLDER]}
folder=${3:-bench-quantize}
ours=${LQ_QUANTIZE:-build/tools/lq-quantize}
types=${TYPES:-Q4_K_M Q5_K_M Q6_K Q3_K_M Q2_K Q8_0 Q4_0}
threads=${THREADS:-2}
repetitions=${REPETITIONS:-3}
imatrix=${IMATRIX:-}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
mkdir -p "$folder"
raw=$folder/raw.csv
echo 'tool,type,importance,threads,repetition,wall_s,user_s,system_s,peak_kib,load' >"$raw"

# measure TOOL TYPE REPETITION COMMAND...: adds a line to raw.csv.
measure() {
  tool=$1 type=$2 repetition=$3
  shift 3
  load=$(cut -d' ' -f1 /proc/loadavg)
  sync
  /usr/bin/time -o "$work/time" -f '%e,%U,%S,%M' "$@" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  echo "$tool,$type,${imatrix:+yes},$threads,$repetition,$(tail -n 1 "$work/time"),$load" >>"$raw"
}

median() { # of column $3 for tool $1 and type $2
  awk -F, -v tool="$1" -v type="$2" -v column="$3" '$1 == tool && $2 == type { print $column }' "$raw" | sort -n |
    awk '{ v[NR] = $1 } END { print NR == 0 ? "" : NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

cat "$model" >/dev/null
for type in $types; do
  for i in $(seq "$repetitions"); do
    rm -f "$work"/*.gguf
    measure reference "$type" "$i" "$reference" ${imatrix:+--imatrix "$imatrix"} "$model" "$work/reference.gguf" "$type" "$threads"
    measure lq "$type" "$i" "$ours" ${imatrix:+--imatrix "$imatrix"} -t "$threads" "$model" "$work/lq.gguf" "$type"
    case $type in
      Q8_0 | Q4_0) measure cp "$type" "$i" cp "$work/lq.gguf" "$work/copy.gguf" ;;
    esac
    if [ -z "$imatrix" ]; then same=$(cmp -s "$work/reference.gguf" "$work/lq.gguf" && echo yes || echo no)
    else same=$(cmp -s "$work/reference.gguf" "$work/lq.gguf" && echo yes || echo 'see README'); fi
    echo "$same" >"$work/same-$type"
  done
done

{
  echo "| type | reference s | lq s | ratio | reference CPU s | lq CPU s | CPU ratio | lq peak MiB | cp s | same bytes |"
  echo "|---|---|---|---|---|---|---|---|---|---|"
  for type in $types; do
    r=$(median reference "$type" 6) l=$(median lq "$type" 6) c=$(median cp "$type" 6)
    rc=$(awk "BEGIN { print $(median reference "$type" 7) + $(median reference "$type" 8) }")
    lc=$(awk "BEGIN { print $(median lq "$type" 7) + $(median lq "$type" 8) }")
    awk -v type="$type" -v r="$r" -v l="$l" -v rc="$rc" -v lc="$lc" -v m="$(median lq "$type" 9)" -v c="$c" \
      -v same="$(cat "$work/same-$type")" 'BEGIN {
        printf "| %s | %.2f | %.2f | %.1f | %.2f | %.2f | %.1f | %.0f | %s | %s |\n", type, r, l, r / l, rc, lc, rc / lc, m / 1024, c, same }'
  done
} | tee "$folder/table.md"
