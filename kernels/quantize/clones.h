// QUERN_CLONES before the definition of a search: it is compiled, with all that it calls, for
// AVX-512, for AVX2 and for the baseline, and the program takes the best one at its start. Plain
// loops become vectors of that size. Results are equal to the bit, for sums run in Lanes
// (least_squares.h) and the compiler contracts nothing.
#pragma once

// Sanitizers instrument the code that chooses, which runs before they are ready.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define QUERN_CLONES [[gnu::target_clones("avx512f", "avx2", "default"), gnu::flatten]]
#else
#define QUERN_CLONES
#endif
