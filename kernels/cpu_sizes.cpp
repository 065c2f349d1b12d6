#include "kernels/cpu_sizes.h"

#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/workspace.h"

namespace quern::kernels {

uint64_t cpu_workspace_bytes(const Program& program, const MaxBatch& max, size_t threads) {
  return cpu::Workspace(program, max, threads).bytes;
}

uint64_t cpu_cache_block_bytes(const Program& program, CacheType type) {
  return cpu::CpuCache::block_bytes(program, type);
}

}  // namespace quern::kernels
