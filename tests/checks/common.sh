# Shared by the checks: where the sources are, and how a check proves that it can fail.
# Every check is called as `check.sh ROOT` or `check.sh --self-test`.

# The project's own source files below ROOT, one a line, relative to it.
source_files() {
  (cd "$1" && for folder in kernels lib tools tests; do
    [ -d "$folder" ] && find "$folder" -type f \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' \
      -o -name '*.cuh' -o -name '*.def' \)
  done | sort)
}

# refuses NAME FILE WANTED <content: the check must fail on a tree with just FILE and say WANTED.
refuses() {
  tree=$(mktemp -d)
  mkdir -p "$tree/$(dirname "$2")"
  cat >"$tree/$2"
  if said=$(check "$tree" 2>&1); then
    echo "self-test: $1: accepted" >&2
    self_test_status=1
  elif ! printf '%s\n' "$said" | grep -qF -- "$3"; then
    printf 'self-test: %s: refused, but not because of "%s":\n%s\n' "$1" "$3" "$said" >&2
    self_test_status=1
  fi
  rm -rf "$tree"
}

# accepts NAME FILE <content: the check must pass.
accepts() {
  tree=$(mktemp -d)
  mkdir -p "$tree/$(dirname "$2")"
  cat >"$tree/$2"
  if ! said=$(check "$tree" 2>&1); then
    printf 'self-test: %s: refused:\n%s\n' "$1" "$said" >&2
    self_test_status=1
  fi
  rm -rf "$tree"
}

# Ends the script: the check of ROOT, or the self-test.
main() {
  if [ "${1-}" = --self-test ]; then
    self_test_status=0
    self_test
    exit $self_test_status
  fi
  check "${1:?usage: $0 ROOT | --self-test}"
}
