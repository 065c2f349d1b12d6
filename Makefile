# The front door. `make run` and `make test` are all that a newcomer needs; CMake does the work.
# JOBS defaults to the number of processors.
JOBS ?= $(shell nproc)
PRESETS := release debug asan tsan

.PHONY: run build test check packages format format-check tidy tidy-all test-kernel bench-kernel $(addprefix test-,$(PRESETS))

run: build
	./build/release/quern run

build: packages
	cmake --preset release
	cmake --build --preset release -j $(JOBS)

test: build
	ctest --preset release -j $(JOBS)

# The suite under AddressSanitizer + UBSan and under ThreadSanitizer, then format and tidy.
check: test-asan test-tsan format-check tidy-all

test-%: packages
	cmake --preset $*
	cmake --build --preset $* -j $(JOBS)
	ctest --preset $* -j $(JOBS)

# While working on one format: make test-kernel K=q4_k (DEVICE=vulkan:0: its shader, too), make bench-kernel K=q4_k.
K ?= all

test-kernel: build/release/build.ninja
	cmake --build --preset release -j $(JOBS) --target quern
	./build/release/quern conform $(K) --quick $(if $(DEVICE),--device $(DEVICE))

# The benches use a format's name as it is written in formats.def.
bench-kernel: build/release/build.ninja
	cmake --build --preset release -j $(JOBS) --target kernels_bench
	./build/release/bench/kernels_bench --benchmark_min_time=0.2 --benchmark_filter="/$$( \
	  awk -F'"' 'tolower($$2) == tolower("$(K)") { print $$2 }' gguf/formats.def)\$$"

build/release/build.ninja:
	cmake --preset release

# Installs what packages.txt names and the machine lacks; asks for root only then.
packages:
	@./tools/install-packages.sh packages.txt

SOURCES = $(shell git ls-files '*.cpp' '*.h')

format:
	@clang-format -i $(SOURCES)

format-check:
	@clang-format --dry-run --Werror $(SOURCES)

# tidy looks at the sources that differ from the commit BASE, and takes seconds; tidy-all at all.
BASE ?= HEAD

tidy: build/release/build.ninja
	./tools/tidy.sh build/release $(BASE)

tidy-all: build
	./tools/tidy.sh build/release
