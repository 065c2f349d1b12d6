#!/bin/sh
# Runs clang-tidy over sources, on all processors. Usage: tidy.sh BUILD [BASE]: over all, or over those
# that differ from the commit BASE, new files included. BUILD is a configured build tree.
set -eu
sources() {
  if [ $# -eq 0 ]; then
    git ls-files
  else
    git diff --name-only --diff-filter=d "$1"
    git ls-files --others --exclude-standard
  fi | grep -E '^(gguf|kernels|engine|tools|bench)/.*\.cpp$' | grep -v '^bench/peers/' || true
}
build=$1
shift
sources "$@" | xargs -r -P "$(nproc)" -n 4 clang-tidy-19 --quiet -p "$build" \
  --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-deprecated-declarations
