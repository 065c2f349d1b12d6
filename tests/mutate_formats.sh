#!/usr/bin/env bash
# Shows that the conformance kit finds faults: in a copy of the tree it breaks one line at a time (of a
# scalar decode, a SIMD kernel, a shader, an encoder), builds, and expects `quern conform` to fail and to
# name the format, the check and the file. Not part of the quick suite: it builds Quern once, and a little
# for each fault. Usage: tests/mutate_formats.sh [DEVICE], by default vulkan:0, for the shaders.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
device=${1:-vulkan:0}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cd "$root"
git ls-files -z --cached | xargs -0 cp --parents -t "$copy"
cd "$copy"
export CCACHE_BASEDIR=$copy

build() {
  cmake --build build/release --target quern > build.log 2>&1 || { tail -20 build.log; exit 1; }
}
cmake --preset release > /dev/null
build

survived=0
# mutate FORMAT FILE SED-EXPRESSION CHECK PLACE
mutate() {
  local format=$1 file=$2 change=$3 check=$4 place=$5 report code=0
  cp "$file" original
  sed -i "$change" "$file"
  if cmp -s "$file" original; then
    echo "$file: '$change' changes nothing" >&2
    exit 1
  fi
  diff original "$file" | grep '^[<>]' || true
  build
  report=$(./build/release/quern conform "$format" --quick --device "$device" 2>&1) || code=$?
  cp original "$file"
  if [ $code -eq 1 ] && grep -F "$format: $check" <<< "$report" | grep -F "$place"; then
    printf 'found\n\n'
  else
    printf 'NOT FOUND (exit code %d):\n%s\n\n' $code "$report"
    survived=$((survived + 1))
  fi
}

golden='scalar decode equals the golden blocks'
simd='SIMD decode equals the scalar one'
dots='dot products equal the scalar ones'
gather='vulkan: gathered rows equal the scalar decode'

mutate q2_0 kernels/formats/q2_0.cpp 's/& 3) - 1/\& 3) - 2/' "$golden" 'unpack of BlockQ2_0'
mutate iq3_s kernels/cpu/reference_iq.cpp '/BlockIQ3_S/,/^}/s/% 8 & 1/% 8 \& 0/' "$golden" 'unpack of BlockIQ3_S'
mutate q6_K kernels/cpu/formats/q6_k.cpp 's/ShiftRight<2>(h), upper/ShiftRight<1>(h), upper/' \
  "$simd" kernels/cpu/formats/q6_k.cpp
mutate q4_K kernels/cpu/formats/q4_k.cpp 's/HighNibbles(qs/LowNibbles(qs/' \
  "$dots" kernels/cpu/formats/q4_k.cpp
mutate q4_K shaders/decode/q4_k.glsl 's/vec2(s0.x, s1.x)/vec2(s0.x, s0.x)/' \
  "$gather" shaders/decode/q4_k.glsl
mutate iq3_s shaders/decode/iq3_s.glsl 's/signs >> 4/signs >> 3/' "$gather" shaders/decode/iq3_s.glsl
mutate q5_0 kernels/quantize/one_scale.cpp 's/codes\[i\] >> 4 & 1/codes[i] >> 3 \& 1/' \
  'encoder copes with difficult rows' 'encode of BlockQ5_0'

if [ $survived -gt 0 ]; then
  echo "$survived faults were not found" >&2
  exit 1
fi
echo "all faults were found"
