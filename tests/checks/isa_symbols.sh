#!/bin/sh
# Code compiled for one instruction set must not leak: a weak symbol in its object could be taken by
# the linker for the whole program, which then dies on older machines.
# Called with the build folder of kernels/ and nm.
set -eu

# Weak, unique and common symbols that an object defines.
leaks() { "$nm" --defined-only -C "$1" | awk '$2 ~ /^[WVuC]$/'; }

check() {
  objects=$(find "$1" -path '*lq_kernels_*' -name '*.o')
  [ -n "$objects" ] || { echo "no objects of instruction sets below $1"; return 1; }
  bad=0
  for object in $objects; do
    found=$(leaks "$object")
    [ -z "$found" ] || { printf '%s:\n%s\n' "$object" "$found"; bad=1; }
  done
  return $bad
}

self_test() {
  tree=$(mktemp -d)
  mkdir "$tree/lq_kernels_bad.dir"
  echo 'inline int twice(int x) { return 2 * x; } int (*f)(int) = twice;' >"$tree/a.cpp"
  ${CXX:-c++} -c "$tree/a.cpp" -o "$tree/lq_kernels_bad.dir/a.o"
  status=0
  check "$tree" | grep -q 'twice(int)' || { echo "self-test: a weak symbol was accepted"; status=1; }
  echo 'static inline int twice(int x) { return 2 * x; } int (*f)(int) = twice;' >"$tree/a.cpp"
  ${CXX:-c++} -c "$tree/a.cpp" -o "$tree/lq_kernels_bad.dir/a.o"
  check "$tree" || { echo "self-test: an object without weak symbols was refused"; status=1; }
  rm -r "$tree/lq_kernels_bad.dir"
  if check "$tree" >/dev/null; then echo "self-test: nothing to look at was accepted"; status=1; fi
  rm -r "$tree"
  return $status
}

nm=${NM:-nm}
if [ "${1-}" = --self-test ]; then self_test; else check "${1:?usage: $0 FOLDER | --self-test}"; fi
