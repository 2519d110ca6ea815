#!/bin/sh
# The whole path on a small model: convert, quantize, ask, measure. Every command is shown as it can
# be typed. usage: tools/demo.sh [--no-install]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tools/packages.sh"
case ${1-} in
  '') ;;
  --no-install) LQ_NO_INSTALL=1 ;;
  *) echo "usage: tools/demo.sh [--no-install]" >&2; exit 2 ;;
esac

# Shows a command, then runs it.
say() {
  printf '\n$'
  for word; do
    case $word in
      *[!A-Za-z0-9_./=:,+-]*) printf " '%s'" "$word" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  "$@"
}

cd "$root"
lq_install lq_packages
# A build folder that is there, with tests or without, is used as it is.
[ -f build/build.ninja ] || say cmake -S . -B build -G Ninja -DLQ_TESTS=OFF
say cmake --build build --target lq-convert lq-quantize lq-run lq-bench

PATH=$root/build/tools:$PATH
out=build/demo
mkdir -p "$out"
printf '\n$ export PATH=$PWD/build/tools:$PATH\n'
say lq-convert testdata/models/lq-demo -o "$out/lq-demo.gguf" --force
say lq-quantize "$out/lq-demo.gguf" "$out/lq-demo-q4_k_m.gguf" Q4_K_M --force
say lq-run "$out/lq-demo-q4_k_m.gguf" "What is the capital city of Chile?" --temp 0
say lq-run "$out/lq-demo-q4_k_m.gguf" "What is 8 x 3?" --temp 0
say lq-bench "$out/lq-demo.gguf" "$out/lq-demo-q4_k_m.gguf" -p 128 -n 64 -r 3
