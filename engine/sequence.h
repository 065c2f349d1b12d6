// Sequence: the cache blocks of one running text; BlockPool: the blocks that sequences share.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gguf/result.h"
#include "kernels/backend.h"

namespace quern::engine {

// Owns a cache and counts how many sequences use each of its blocks.
class BlockPool {
 public:
  BlockPool(std::unique_ptr<kernels::Cache> cache, uint32_t blocks);

  // A block that nobody uses. Errors: "cache-full".
  Result<uint32_t> take();
  void share(uint32_t block) { ++users_[block]; }
  void release(uint32_t block);
  bool shared(uint32_t block) const { return users_[block] > 1; }

  kernels::Cache& cache() { return *cache_; }

 private:
  std::unique_ptr<kernels::Cache> cache_;
  std::vector<uint32_t> users_;  // per block
  std::vector<uint32_t> free_;
};

// Keys and values of positions [0, length). Forks share blocks; a shared block is copied when one
// of its sequences writes to it. Must not outlive the pool.
class Sequence {
 public:
  explicit Sequence(BlockPool& pool) : pool_(&pool) {}
  Sequence(Sequence&& other) noexcept;
  Sequence& operator=(Sequence&& other) noexcept;
  ~Sequence() { drop_blocks(0); }

  uint32_t length() const { return length_; }
  std::span<const uint32_t> blocks() const { return blocks_; }

  // A second sequence with the same past; costs no copy until one of them writes.
  Sequence fork() const;
  // Forgets positions from `length` on; `length` must not be larger than length().
  void rewind(uint32_t length);

  // Makes positions [length(), length() + count) writable. Errors: "cache-full".
  Status reserve(uint32_t count);
  // Counts `count` reserved positions as written.
  void advance(uint32_t count) { length_ += count; }

 private:
  void drop_blocks(size_t keep);

  BlockPool* pool_;
  std::vector<uint32_t> blocks_;
  uint32_t length_ = 0;
};

}  // namespace quern::engine
