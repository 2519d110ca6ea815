#!/bin/sh
# The committed man pages and completions are what the tools print.
# docs_fresh.sh ROOT TOOLS_FOLDER TOOL...: compares; with --write first: rewrites.
set -eu
write=0
if [ "$1" = --write ]; then write=1; shift; fi
if [ "$1" = --self-test ]; then
  tree=$(mktemp -d)
  mkdir "$tree/man" "$tree/completions"
  printf '#!/bin/sh\necho "$2"\n' >"$tree/lq-x"
  chmod +x "$tree/lq-x"
  "$0" --write "$tree" "$tree" lq-x
  "$0" "$tree" "$tree" lq-x || { echo "self-test: fresh files were refused"; exit 1; }
  echo stale >"$tree/completions/_lq-x"
  if "$0" "$tree" "$tree" lq-x >"$tree/said"; then echo "self-test: a stale file was accepted"; exit 1; fi
  grep -q '^-stale' "$tree/said" || { echo "self-test: the difference is not shown"; exit 1; }
  rm "$tree/man/lq-x.1" && "$0" --write "$tree" "$tree" lq-x && touch "$tree/man/lq-old.1"
  if "$0" "$tree" "$tree" lq-x >/dev/null; then echo "self-test: a left-over page was accepted"; exit 1; fi
  rm -r "$tree"
  exit 0
fi
root=$1 tools=$2
shift 2
status=0 expected=
one() { # tool, what, committed file
  expected="$expected $3"
  if [ $write = 1 ]; then
    "$tools/$1" --generate "$2" >"$root/$3"
  else
    "$tools/$1" --generate "$2" | diff -u --label "$3" --label "$1 --generate $2" "$root/$3" - || status=1
  fi
}
for tool; do
  one "$tool" man "man/$tool.1"
  one "$tool" bash "completions/$tool.bash"
  one "$tool" zsh "completions/_$tool"
  one "$tool" fish "completions/$tool.fish"
done
for file in $(cd "$root" && ls man/* completions/*); do
  case " $expected " in *" $file "*) ;; *) echo "$file belongs to no tool"; status=1 ;; esac
done
[ $status = 0 ] || echo "remake them: ninja docs"
exit $status
