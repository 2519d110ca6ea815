#!/bin/sh
# Builds lq and runs all its tests: packages, configure, build, ctest.
# usage: tests/run.sh [--no-install] [--build DIR] [CMAKE-OPTION...]
# Ends with "N passed, N failed, N skipped"; exit status 0 when none failed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tools/packages.sh"

build=$root/build
while [ $# -gt 0 ]; do
  case $1 in
    --no-install) LQ_NO_INSTALL=1; shift ;;
    --build) build=${2:?--build needs a folder}; shift 2 ;;
    -h|--help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
    -D*) break ;;
    *) echo "tests/run.sh: unknown option '$1'" >&2; exit 2 ;;
  esac
done

mkdir -p "$build"
build=$(cd "$build" && pwd)  # ctest runs in it, and writes its report where it is told
jobs=$(nproc)
lq_install lq_packages lq_test_packages
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLQ_TESTS=ON "$@"
cmake --build "$build" -j "$jobs"

status=0
report=$build/tests/junit.xml
rm -f "$report"
(cd "$build" && ctest -j "$jobs" --output-on-failure --output-junit "$report") || status=$?

# <testsuite ... tests="90" failures="0" disabled="0" skipped="1" ...>
number() { grep -o "$1=\"[0-9]*\"" "$report" | head -n 1 | tr -dc 0-9; }
[ -s "$report" ] || { echo "ctest wrote no report"; exit 1; }
failed=$(number failures)
skipped=$(($(number skipped) + $(number disabled)))
passed=$(($(number tests) - failed - skipped))
[ "$passed" -gt 0 ] || status=1
[ "$failed" -eq 0 ] || status=1
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
