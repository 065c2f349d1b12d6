#include "engine/sequence.h"

#include <cassert>
#include <numeric>
#include <utility>

namespace quern::engine {

using kernels::kBlockPositions;

BlockPool::BlockPool(std::unique_ptr<kernels::Cache> cache, uint32_t blocks)
    : cache_(std::move(cache)), users_(blocks, 0), free_(blocks) {
  // Taken from the back: block 0 first, so that a short text touches little memory.
  std::iota(free_.rbegin(), free_.rend(), 0);
}

Result<uint32_t> BlockPool::take() {
  if (free_.empty()) {
    return fail(ErrorKind::kFailure, "cache-full",
                "the key/value cache is full: use a larger context or fewer sequences");
  }
  const uint32_t block = free_.back();
  free_.pop_back();
  users_[block] = 1;
  return block;
}

void BlockPool::release(uint32_t block) {
  assert(users_[block] > 0);
  if (--users_[block] == 0) free_.push_back(block);
}

Sequence::Sequence(Sequence&& other) noexcept
    : pool_(other.pool_),
      blocks_(std::move(other.blocks_)),
      length_(std::exchange(other.length_, 0)) {
  other.blocks_.clear();
}

Sequence& Sequence::operator=(Sequence&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(blocks_, other.blocks_);
  std::swap(length_, other.length_);
  return *this;
}

Sequence Sequence::fork() const {
  Sequence copy(*pool_);
  copy.blocks_ = blocks_;
  copy.length_ = length_;
  for (const uint32_t block : blocks_) pool_->share(block);
  return copy;
}

void Sequence::rewind(uint32_t length) {
  assert(length <= length_);
  length_ = length;
  drop_blocks((length + kBlockPositions - 1) / kBlockPositions);
}

void Sequence::drop_blocks(size_t keep) {
  while (blocks_.size() > keep) {
    pool_->release(blocks_.back());
    blocks_.pop_back();
  }
}

Status Sequence::reserve(uint32_t count) {
  if (count == 0) return {};
  const size_t first = length_ / kBlockPositions;
  const size_t last = (length_ + count - 1) / kBlockPositions;
  if (first < blocks_.size() && pool_->shared(blocks_[first])) {
    QUERN_TRY(const uint32_t own, pool_->take());
    pool_->cache().copy_block(blocks_[first], own);
    pool_->release(std::exchange(blocks_[first], own));
  }
  blocks_.reserve(last + 1);  // a block that was taken must not get lost for want of memory
  while (blocks_.size() <= last) {
    QUERN_TRY(const uint32_t block, pool_->take());
    blocks_.push_back(block);
  }
  return {};
}

}  // namespace quern::engine
