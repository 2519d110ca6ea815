#!/bin/sh
# What quantization does to a model: size, perplexity, and KL divergence from the model that was quantized.
#
#   testdata/quality/table.sh [-o FOLDER] [-r REFERENCE [MODEL...]]
#
# MODEL: GGUF files, Hugging Face folders, quantized or not, or folders of such. Without -r the small model of the test
# data is converted (BF16, the reference) and quantized to every type and scheme below. What lq-quantize or lq-bench
# refuses is named on stderr and in the README, and left out. Writes FOLDER/results.csv (every figure of lq-bench kld
# -o csv) and FOLDER/README.md; without -o FOLDER is this one.
#
# Environment: LQ_BIN (folder of the programs; build/tools; empty: PATH), TEXT (val.txt here), CONTEXT (512), CHUNKS (0:
# all), OPTIONS (--exact: products in binary32, so that the stored weights alone make the difference; "" measures
# what runs), THREADS, TYPES and SCHEMES (instead of those below), CALIBRATION (a text; the last 600 lines of TEXT, which the
# first 20 chunks do not reach: for schemes that end in --calibrate).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=$here reference='' measured=''
while getopts o:r: option; do
  case $option in
    o) folder=$OPTARG ;;
    r) reference=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
if [ -z "$reference" ] && [ $# -gt 0 ]; then
  echo "$0: models need a reference: -r REFERENCE" >&2
  exit 2
fi

bin=${LQ_BIN-$root/build/tools}
bin=${bin:+$bin/}
text=${TEXT:-$here/val.txt} context=${CONTEXT:-512} chunks=${CHUNKS:-0} options=${OPTIONS---exact}
types=${TYPES-Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS Q3_K_L Q3_K_M Q3_K_S IQ3_M IQ3_S Q2_K TQ2_0 TQ1_0}
# Options after a comma. Groups of 32 and 64 beside the usual 128: the small model's rows have 256 and 768 values only.
schemes=${SCHEMES-W8A16,--group-size,32 W8A16,--group-size,128 W8A16,--group-size,channel W4A16,--group-size,32 W4A16,--group-size,64 \
W4A16,--group-size,128 W4A16,--group-size,32,--method,mse W4A16_ASYM,--group-size,32 W4A16_ASYM,--group-size,128 \
W4A16_ASYM,--group-size,32,--method,mse W4A16_ASYM,--group-size,32,--method,hqq W4A16,--group-size,32,--format,gptq \
W4A16_ASYM,--group-size,32,--format,awq W3A16,--group-size,32 W2A16,--group-size,32 W8A8 W4AFP8,--group-size,32 FP8 FP8_DYNAMIC \
FP8_BLOCK FP8_STATIC,--calibrate W8A8_STATIC,--calibrate NVFP4,--calibrate NVFP4A16 MXFP4A16 MXFP8 NF4 NF4,--double-quant FP4 INT8}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$folder"
: >"$work/skipped"

skip() { # model, file with the reason
  reason=$(tail -n 1 "$2" | sed 's/^lq-[a-z]*: //')
  echo "skipped: $1: $reason" >&2
  echo "* $(basename "$1"): $(echo "$reason" | sed "s|$work/||g")" >>"$work/skipped"
}

measure() { # model
  label=$(basename "$1" .gguf)
  # shellcheck disable=SC2086  # options are words
  if "${bin}lq-bench" kld "$1" --ref "$reference" -f "$text" -c "$context" --chunks "$chunks" $options \
    ${THREADS:+-t "$THREADS"} -o csv -q >"$work/row" 2>"$work/log"; then
    tr -d '\r' <"$work/row" >"$work/lines"
    [ -s "$work/results.csv" ] || head -n 1 "$work/lines" >"$work/results.csv"
    # The path is of no interest to others. Names with commas are quoted, and so stay one field.
    tail -n 1 "$work/lines" | awk -v label="$label" '{ sub(/^("([^"]|"")*"|[^,]*)/, ""); print label $0 }' >>"$work/results.csv"
    echo "measured: $label" >&2
  else
    status=$?
    [ $status -ne 130 ] || exit 130
    skip "$1" "$work/log"
  fi
}

measure_all() { # path: a model, or a folder of models
  if [ -d "$1" ] && [ ! -e "$1/config.json" ]; then
    for inner in "$1"/*.gguf "$1"/*/; do [ ! -e "$inner" ] || measure_all "${inner%/}"; done
  else
    measure "$1"
  fi
}

quantize() { # name, input, output, type and options
  output=$3 input=$2 name=$1
  shift 3
  if "${bin}lq-quantize" -q "$input" "$output" "$@" >"$work/log" 2>&1; then
    measure "$output"
    rm -rf "$output"
  else
    skip "$name" "$work/log"
  fi
}

if [ -n "$reference" ]; then
  for model in "$reference" "$@"; do measure_all "$model"; done
else
  checkpoint=$root/testdata/models/lq-demo
  reference=$work/BF16.gguf
  "${bin}lq-convert" -q "$checkpoint" -o "$reference" --outtype bf16
  measure "$reference"
  for type in $types; do quantize "$type" "$reference" "$work/$type.gguf" "$type"; done
  calibration=${CALIBRATION:-$work/calibration.txt}
  [ -n "${CALIBRATION:-}" ] || tail -n 600 "$text" >"$calibration"
  for scheme in $schemes; do
    plain=${scheme%,--calibrate}
    name=$(echo "$plain" | sed 's/,--[a-z-]*,/-/g; s/,--/-/g')
    # shellcheck disable=SC2046
    set -- $(echo "$plain" | tr , ' ')
    if [ "$plain" != "$scheme" ]; then
      measured="$measured${measured:+,} $plain"
      set -- "$@" --calibrate "$calibration"
    fi
    quantize "$name" "$checkpoint" "$work/$name" "$@"
  done
fi
chunks_said=
[ "$chunks" = 0 ] || chunks_said=", the first $chunks chunks"
[ -s "$work/results.csv" ] || { echo "$0: nothing could be measured" >&2; exit 1; }

{
  echo '# Quality of quantized models'
  echo
  echo "Perplexity, and what changed against $(basename "$reference" .gguf): mean Kullback-Leibler divergence in nats and its 99.9 %"
  echo "quantile, how often the likeliest token stays the same. $(basename "$text"), chunks of $context tokens, the second half of each"
  echo "scored; +-: standard error. Made by \`testdata/quality/table.sh\` with \`lq-bench kld${options:+ $options}\`${chunks_said}."
  echo 'Sizes are of all tensors as they are in memory: folders keep the embedding in 16 bits, groups have scales of 32 bits there,'
  echo 'and integers of 2 and 3 bits take 4, those of W4AFP8 8. With --exact activations are not rounded, so that weights alone make the difference.'
  echo 'results.csv has every figure of lq-bench kld -o csv.'
  [ -z "$measured" ] || echo "Scales of activations of$measured were measured on ${CALIBRATION:-the last 600 lines of the text}."
  echo
  awk -F, '
    NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i
      print "| Model | Bits a weight | MiB | Perplexity | to reference | KL divergence | 99.9 % | Same top token |"
      print "|---|---:|---:|---:|---:|---:|---:|---:|"; next }
    { printf "| %s | %.2f | %.2f | %.3f +- %.3f | %.4f | %.5f +- %.5f | %.3f | %.2f %% |\n", $at["model"], $at["bits_per_weight"],
        $at["model_bytes"] / 1048576, $at["perplexity"], $at["perplexity_error"], $at["perplexity_ratio"], $at["kld"], $at["kld_error"],
        $at["kld_p99_9"], 100 * $at["same_top"] }' "$work/results.csv"
  if [ -s "$work/skipped" ]; then
    printf '\nNot measured:\n\n'
    cat "$work/skipped"
  fi
} >"$work/README.md"
cp "$work/results.csv" "$work/README.md" "$folder"
