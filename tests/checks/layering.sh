#!/bin/sh
# Includes point down only. The table of lib/README.md, read against every include line.
set -eu
. "$(dirname "$0")/common.sh"

# folder: what its files may include besides the folder itself
rules() {
  cat <<'END'
kernels/blocks: kernels
kernels/groups: kernels
kernels/panels: kernels kernels/blocks
kernels/cpu: kernels kernels/blocks kernels/groups kernels/panels
kernels/cuda: kernels kernels/blocks
kernels:
lib/base:
lib/io: lib/base
lib/format: lib/base lib/io kernels/blocks/dtype.h kernels/blocks/activation_scheme.h
lib/text: lib/base lib/io lib/format
lib/model: lib/base lib/io lib/format kernels/blocks/dtype.h
lib/backend: lib/base kernels kernels/blocks kernels/panels kernels/cpu kernels/cuda
lib/infer: lib/base lib/io lib/format lib/text lib/model lib/backend kernels/blocks/dtype.h
lib/jobs: lib/base lib/io lib/format lib/text lib/model lib/backend lib/infer kernels kernels/blocks kernels/groups kernels/panels kernels/cpu
tools/cli: lib/base kernels/cpu/kernel_table.h
tools: tools/cli lib/base lib/io lib/format lib/text lib/model lib/backend lib/infer lib/jobs
END
}

# Headers of packages that stay inside source files, and where in the project they may be.
check() {
  rules >"${TMPDIR:-/tmp}/lq-rules.$$"
  source_files "$1" | grep -v '^tests/' | (cd "$1" && xargs -r grep -nE '^[[:space:]]*#[[:space:]]*include' /dev/null) |
    awk -v rules="${TMPDIR:-/tmp}/lq-rules.$$" '
    function folder_of(path) { sub(/\/[^\/]*$/, "", path); return path }
    function owner(path,   f) {  # the folder of the rules that a file belongs to
      f = folder_of(path)
      while (!(f in allowed) && f ~ /\//) f = folder_of(f)
      return f
    }
    function complain(what) { print file ":" line ": " what; bad = 1 }
    BEGIN {
      while ((getline row < rules) > 0) {
        split(row, side, ":")
        allowed[side[1]] = " " side[1] side[2] " "
      }
    }
    {
      n = index($0, ":"); file = substr($0, 1, n - 1); rest = substr($0, n + 1)
      n = index(rest, ":"); line = substr(rest, 1, n - 1); text = substr(rest, n + 1)
      quoted = text ~ /"/
      name = text; sub(/^[^"<]*["<]/, "", name); sub(/[">].*$/, "", name)
      if (quoted) {
        if (name !~ /\//) { complain("\"" name "\": include paths start at the root of the project"); next }
        if (name ~ /^tests\//) { complain("includes a test header: " name); next }
        from = owner(file); to = owner(name)
        if (index(allowed[from], " " to " ") == 0 && index(allowed[from], " " name " ") == 0)
          complain(from " may not include " name)
      } else {
        header = file ~ /\.(h|cuh)$/
        if (header && name ~ /^(nlohmann\/json\.hpp|zstd.*\.h|pcre2.*\.h|sentencepiece.*|utf8proc\.h|histedit\.h|cuda.*\.h)$/)
          complain("<" name "> belongs in .cpp files only")
        if (name ~ /^CLI\// && file !~ /^tools\//) complain("<" name "> belongs in tools/ only")
        if (file ~ /^kernels\// && name ~ /^(vector|string|map|unordered_map|set|thread|mutex|iostream|fstream|sstream|stdexcept)$/)
          complain("kernels do without <" name ">")
      }
    }
    END { exit bad }'
  status=$?
  rm -f "${TMPDIR:-/tmp}/lq-rules.$$"
  return $status
}

self_test() {
  refuses "kernels know lib" kernels/cpu/a.cpp 'kernels/cpu may not include lib/base/error.h' <<'END'
#include "lib/base/error.h"
END
  refuses "format knows model" lib/format/a.h 'lib/format/a.h:2: lib/format may not include' <<'END'
#pragma once
  #  include "lib/model/hparams.h"
END
  refuses "a subfolder is its folder" lib/model/archs/a.cpp 'lib/model may not include lib/infer/decoder.h' <<'END'
#include "lib/infer/decoder.h"
END
  refuses "tools know kernels" tools/run.cpp 'tools may not include kernels/half.h' <<'END'
#include "kernels/half.h"
END
  refuses "relative include" lib/io/a.cpp 'start at the root' <<'END'
#include "error.h"
END
  refuses "json in a header" lib/base/a.h 'belongs in .cpp files only' <<'END'
#include <nlohmann/json.hpp>
END
  refuses "CLI11 in lib" lib/jobs/a.cpp 'belongs in tools/ only' <<'END'
#include <CLI/CLI.hpp>
END
  refuses "containers in kernels" kernels/cpu/a.cpp 'do without <vector>' <<'END'
#include <vector>
END
  accepts "downwards" lib/infer/a.cpp <<'END'
#include <vector>
#include "lib/backend/backend.h"
#include "kernels/blocks/dtype.h"
END
}

main "$@"
