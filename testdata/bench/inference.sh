#!/bin/sh
# How fast lq-bench's models are against other programs with llama-bench's options: same file, same threads, in turn.
#
#   testdata/bench/inference.sh OUTPUT_FOLDER MODEL.gguf NAME=LLAMA_BENCH[,OPTION...] ...
#
# Environment: LQ_BENCH (the binary; build/tools/lq-bench), THREADS (2), PROMPT (512), GENERATE (32), ROUNDS (3),
# PRIORITY ("chrt -f 30" where the machine is not quiet and you may). Each round runs every program once for the
# prompt and once for generation. Writes OUTPUT_FOLDER/MODEL.raw.csv and prints a table of medians.
set -eu

folder=${1:?usage: $0 OUTPUT_FOLDER MODEL.gguf NAME=LLAMA_BENCH[,OPTION...] ...}
model=${2:?usage: $0 OUTPUT_FOLDER MODEL.gguf NAME=LLAMA_BENCH[,OPTION...] ...}
shift 2
ours=${LQ_BENCH:-build/tools/lq-bench}
threads=${THREADS:-2} prompt=${PROMPT:-512} generate=${GENERATE:-32} rounds=${ROUNDS:-3}
priority=${PRIORITY:-}
mkdir -p "$folder"
raw=$folder/$(basename "$model" .gguf).raw.csv
echo 'program,test,round,tokens_per_second,load' >"$raw"

note() { echo "$1,$2,$3,$4,$(cut -d' ' -f1 /proc/loadavg)" >>"$raw"; }

# shellcheck disable=SC2086  # options are words
ours() { # test, tokens of the prompt, tokens to generate, round
  speed=$($priority "$ours" "$model" -p "$2" -n "$3" -t "$threads" -r 1 --json --no-hash 2>/dev/null |
    tr -d ' \n' | sed 's/.*"tokens_per_second":{"median":\([0-9.]*\).*/\1/')
  note lq "$1" "$4" "$speed"
}
# shellcheck disable=SC2086
other() { # name, binary and options with commas, test, prompt, generate, round
  speed=$(OMP_PROC_BIND=true $priority $(echo "$2" | tr , ' ') -m "$model" -t "$threads" -p "$4" -n "$5" -r 1 -o json 2>/dev/null |
    sed -n 's/.*"avg_ts": *\([0-9.]*\).*/\1/p' | tail -n 1)
  note "$1" "$3" "$6" "$speed"
}

round=1
while [ "$round" -le "$rounds" ]; do
  for test in "pp$prompt $prompt 0" "tg$generate 0 $generate"; do
    # shellcheck disable=SC2086
    ours $test "$round"
    for program in "$@"; do
      # shellcheck disable=SC2086
      other "${program%%=*}" "${program#*=}" $test "$round"
    done
  done
  round=$((round + 1))
done

median() { awk -F, -v p="$1" -v t="$2" '$1 == p && $2 == t { print $4 }' "$raw" | sort -n |
  awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
printf '%-14s %12s %12s\n' program "pp$prompt t/s" "tg$generate t/s"
for program in lq "$@"; do
  name=${program%%=*}
  printf '%-14s %12.1f %12.1f\n' "$name" "$(median "$name" "pp$prompt")" "$(median "$name" "tg$generate")"
done
