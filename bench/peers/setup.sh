#!/usr/bin/env bash
# Fetches the prebuilt llama.cpp that the npm package @node-llama-cpp/linux-x64 ships and builds the
# driver and the memory meter beside it. Needs npm, tar and g++.
# usage: bench/peers/setup.sh FOLDER      then: FOLDER/llama_driver MODEL PREFILL DECODE THREADS REPETITIONS
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: setup.sh FOLDER}
version=3.22.1
mkdir -p "$folder"
cd "$folder"
if [ ! -d package ]; then
  npm pack --silent "@node-llama-cpp/linux-x64@$version" > /dev/null
  tar xzf "node-llama-cpp-linux-x64-$version.tgz"
fi
libraries=$PWD/package/bins/linux-x64
g++ -O2 -std=c++20 -DPEER_FOLDER="\"$libraries\"" "$here/llama_driver.cpp" -o llama_driver \
  -L"$libraries" -l:libllama.v0.5.0.so -l:libggml.v0.5.0.so -l:libggml-base.so \
  -Wl,-rpath,"$libraries"
g++ -O3 -march=native -std=c++20 "$here/meter.cpp" -o meter
echo "$PWD/llama_driver $PWD/meter"
