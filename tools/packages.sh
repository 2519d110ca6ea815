# Sourced by tools/demo.sh and tests/run.sh: the Debian packages that lq is built from, each with its
# reason, and a function that installs what is missing.

lq_packages() {
  cat <<'END'
cmake              the build is described in CMake
ninja-build        runs the build
g++                C++20 compiler
pkg-config         finds the libraries
libcli11-dev       reads command lines
nlohmann-json3-dev reads and writes JSON
libzstd-dev        reads and writes .zst files
libpcre2-dev       splits text before tokenization
libutf8proc-dev    normalizes Unicode
libedit-dev        the chat's line editor
END
}
lq_test_packages() {
  cat <<'END'
doctest-dev        runs the unit tests
groff-base         checks the man pages
libsentencepiece-dev what our reading of SentencePiece vocabularies is compared with
END
}
lq_ci_packages() {
  cat <<'END'
clang              the second compiler, with the sanitizers
libomp-dev         OpenMP for clang
clang-format-14    the form of the source
END
}

# lq_install LIST-FUNCTION...: installs the packages that are not there; says which and why.
# With LQ_NO_INSTALL=1 it only says what is missing, and fails.
lq_install() {
  missing=
  for list; do
    for name in $("$list" | sed 's/ .*//'); do
      dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' && continue
      missing="$missing $name"
      printf '%s\n' "missing: $("$list" | grep "^$name ")"
    done
  done
  [ -n "$missing" ] || return 0
  as_root=
  [ "$(id -u)" = 0 ] || as_root=sudo
  if [ "${LQ_NO_INSTALL:-0}" = 1 ]; then
    echo "to install them: $as_root apt-get install -y$missing"
    return 1
  fi
  if [ -n "$as_root" ] && ! command -v sudo >/dev/null; then
    echo "not root and no sudo; as root: apt-get install -y$missing"
    return 1
  fi
  echo "installing:$missing"
  $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
