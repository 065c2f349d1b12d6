#!/bin/sh
# Runs clang-tidy over the sources of a build tree, on all processors. Usage: tidy.sh BUILD
set -eu
git ls-files 'gguf/*.cpp' 'kernels/*.cpp' 'engine/*.cpp' 'tools/*.cpp' 'bench/*.cpp' ':!bench/peers' |
  xargs -P "$(nproc)" -n 4 clang-tidy-19 --quiet -p "$1" --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-deprecated-declarations
