# Writes an add_test line for each test case of ${TESTS} to ${OUTPUT}.
execute_process(COMMAND ${TESTS} --list-test-cases --reporters=xml OUTPUT_VARIABLE xml
  COMMAND_ERROR_IS_FATAL ANY)
# To CMake these separate or group the elements of a list.
string(REGEX REPLACE "[][;]" "?" xml "${xml}")
string(REGEX MATCHALL "<TestCase [^\n]*" rows "${xml}")
set(script "")
foreach(row IN LISTS rows)
  string(REGEX MATCH " name=\"([^\"]*)\"" matched "${row}")
  set(name "${CMAKE_MATCH_1}")
  string(REGEX MATCH " filename=\"[^\"]*tests/([a-z]+)/" matched "${row}")
  set(folder "${CMAKE_MATCH_1}")
  set(labels unit)
  if(folder STREQUAL "cli")
    set(labels cli)
  endif()
  foreach(label gpu slow)
    if(name MATCHES "[?]${label}[?]")
      list(APPEND labels ${label})
    endif()
  endforeach()
  # What has a meaning to XML, to CMake or to doctest's filter matches any one character instead.
  string(REGEX REPLACE "&[a-z]+;" "?" pattern "${name}")
  string(REGEX REPLACE "[^-A-Za-z0-9_ .:/+=()<>]" "?" pattern "${pattern}")
  string(REGEX REPLACE "[?;\\\"$]" "_" title "${pattern}")
  string(APPEND script "add_test([==[${folder}: ${title}]==] [==[${TESTS}]==] [==[--test-case=${pattern}]==])\n"
    "set_tests_properties([==[${folder}: ${title}]==] PROPERTIES LABELS \"${labels}\" TIMEOUT 300\n"
    "  SKIP_REGULAR_EXPRESSION \"skipped: no CUDA device|skipped: no transformers\" FAIL_REGULAR_EXPRESSION \"test cases: +0 \")\n")
endforeach()
file(WRITE ${OUTPUT} "${script}")
