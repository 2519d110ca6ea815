#!/bin/sh
# groff finds nothing to complain about in the man pages. man_pages.sh PAGE...
set -eu
command -v groff >/dev/null || { echo "skipped: no groff"; exit 77; }
status=0
for page; do
  said=$(groff -man -Tutf8 -ww -z "$page" 2>&1) || status=1
  [ -z "$said" ] || { echo "$said"; status=1; }
done
exit $status
