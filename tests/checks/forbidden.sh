#!/bin/sh
# Calls and constructs that the project does without. A line that has a reason to be an exception
# says it behind `// lint:`.
set -eu
. "$(dirname "$0")/common.sh"

# Prints file:line:code with comments and the content of strings removed, without excepted lines.
code_of() {
  xargs -r awk '
    FNR == 1 { comment = 0 }
    /\/\/ lint:/ { next }
    {
      text = $0
      if (comment) { if (!sub(/^.*\*\//, "", text)) next; comment = 0 }
      gsub(/\\\\/, "", text); gsub(/\\"/, "", text)
      gsub(/"[^"]*"/, "\"\"", text)
      sub(/\/\/.*/, "", text)
      gsub(/\/\*[^*]*\*\//, "", text)
      if (sub(/\/\*.*/, "", text)) comment = 1
      print FILENAME ":" FNR ":" text
    }' /dev/null
}

# of FOLDERS [EXCEPT]: the files whose name matches one and not the other.
of() { printf '%s\n' "$files" | grep -E "$1" | grep -vE "${2:-^$}" || true; }

# forbid WHY PATTERN FOLDERS [EXCEPT]: no line of code there may match.
forbid() {
  if found=$(of "$3" "${4-}" | code_of | grep -E "^[^:]*:[0-9]+:.*$2"); then
    printf '%s\n' "$found" | sed "s|\$|    <- $1|"
    status=1
  fi
}

# forbid_text WHY FOLDERS GREP-OPTION PATTERN: the same for whole lines, with their comments.
forbid_text() {
  found=$(of "$2" | LC_ALL=C xargs -r grep -n "$3" -e "$4" /dev/null || true)
  [ -z "$found" ] && return
  printf '%s\n' "$found" | sed "s|\$|    <- $1|"
  status=1
}

check() (
  cd "$1"
  status=0
  files=$(source_files .)
  code='^(lib|kernels|tools)/' library='^(lib|kernels)/'
  before='(^|[^A-Za-z0-9_.>])'
  output="(std::(cout|cerr|clog)|$before(std::)?(f|v|vf)?printf *\(|$before(std::)?f?put(s|char) *\()"
  files_of_cli='CLI::(ExistingFile|ExistingPath|ExistingDirectory|NonexistentPath)'
  thrown='(std::(runtime|logic|invalid|out_of|exception)|Error|[0-9"])'

  forbid 'lib and kernels print nothing' "$output" "$library"
  forbid 'a tool writes by print()' "$output" '^tools/' '^tools/cli/'
  forbid 'lib and kernels never end the process' \
    "$before(::|std::)?(_?exit|_Exit|quick_exit|abort|terminate) *\(" "$library"
  forbid 'input is checked by if, promises by LQ_ASSERT' "$before(assert) *\(" "$library"
  forbid 'throw by fail()' "(^|[^A-Za-z0-9_])throw +$thrown" "$code" '^lib/base/error.h$'
  forbid 'a missing file has its own exit status: open it instead' "$files_of_cli" '^tools/'
  forbid 'threads live in lib/base/parallel.h and thread_pool' '(# *pragma +omp|std::j?thread|pthread_create)' \
    "$code" '^lib/base/(parallel|thread_pool)'
  forbid 'features are chosen by CMake' '# *(if|ifdef|ifndef)([^A-Za-z]|$)' "$code" '^kernels/hd.h$'
  forbid 'writes behind the end' "$before(std::)?(strcpy|strcat|sprintf|gets) *\(" "$code"
  forbid_text 'do it or file an issue' . -E \
    "(^|[^A-Za-z])(TO""DO|FIX""ME|X""XX|HA""CK)([^A-Za-z]|$)|not ""implemented"
  forbid_text 'comments are ASCII' "$code" -P '//.*[^\x00-\x7f]'
  return $status
)

self_test() {
  mark=TO
  mark=${mark}DO
  refuses "printing in lib" lib/a.cpp 'lib and kernels print nothing' <<'END'
void f() { std::cerr << 1; }
END
  refuses "printf in kernels" kernels/a.cpp 'lib and kernels print nothing' <<'END'
void f() { printf("x"); }
END
  refuses "exit in lib" lib/a.cpp 'never end the process' <<'END'
void f() { std::exit(1); }
END
  refuses "abort in lib" lib/a.cpp 'never end the process' <<'END'
  if (x) abort();
END
  refuses "assert on input" lib/a.cpp 'LQ_ASSERT' <<'END'
  assert(n > 0);
END
  refuses "a foreign exception" lib/a.cpp 'throw by fail' <<'END'
  throw std::runtime_error("x");
END
  refuses "OpenMP outside its place" lib/jobs/a.cpp 'parallel.h' <<'END'
#pragma omp parallel for
END
  refuses "a thread" tools/run.cpp 'parallel.h' <<'END'
std::thread t(f);
END
  refuses "a feature switch" lib/a.cpp 'chosen by CMake' <<'END'
#ifdef LQ_WITH_CUDA
END
  refuses "a tool that prints by itself" tools/run.cpp 'print()' <<'END'
  std::cout << "x";
END
  refuses "a file check while parsing" tools/run.cpp 'exit status' <<'END'
  option->check(CLI::ExistingFile);
END
  refuses "work left undone" tests/a.cpp 'do it or file' <<END
// ${mark}: more
END
  refuses "a comment beyond ASCII" lib/a.cpp 'ASCII' <<'END'
// naïve
END
  accepts "an exception with its reason" lib/a.cpp <<'END'
  std::abort();  // lint: a broken promise of our own
END
  accepts "words in comments, strings and other names" lib/a.cpp <<'END'
#pragma once
// exit(1) and printf("x") are forbidden
/* abort() */
const char* s = "exit(1)";
std::snprintf(a, n, "%d", 1);
session.exit();  on_exit(f);
catch (...) { throw; }
END
}

main "$@"
