#include "engine/sequence.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>
#include <utility>

namespace quern::engine {
namespace {

using kernels::kBlockPositions;

tl::unexpected<Error> cache_full() {
  return fail(ErrorKind::kFailure, "cache-full",
              "the key/value cache is full: use a larger context or fewer sequences");
}

}  // namespace

SharedIds::SharedIds(uint32_t count) : users_(count, 0), free_(count) {
  // Taken from the back: block 0 first, so that a short text touches little memory.
  std::iota(free_.rbegin(), free_.rend(), 0);
}

std::optional<uint32_t> SharedIds::take() {
  if (free_.empty()) return std::nullopt;
  const uint32_t id = free_.back();
  free_.pop_back();
  users_[id] = 1;
  return id;
}

void SharedIds::release(uint32_t id) {
  assert(users_[id] > 0);
  if (--users_[id] == 0) free_.push_back(id);
}

void StatePool::replace(std::unique_ptr<kernels::Cache> cache) {
  cache_ = std::move(cache);
  ++generation_;
}

Sequence::Sequence(Sequence&& other) noexcept
    : pool_(other.pool_),
      generation_(other.generation_),
      blocks_(std::exchange(other.blocks_, {})),
      past_(std::exchange(other.past_, {})),
      next_slot_(std::exchange(other.next_slot_, {})),
      length_(std::exchange(other.length_, 0)) {}

Sequence& Sequence::operator=(Sequence&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(generation_, other.generation_);
  std::swap(blocks_, other.blocks_);
  std::swap(past_, other.past_);
  std::swap(next_slot_, other.next_slot_);
  std::swap(length_, other.length_);
  return *this;
}

Sequence::~Sequence() {
  rewind(0);
  if (next_slot_) pool_->states().release(*next_slot_);
}

Sequence Sequence::fork() const {
  Sequence copy(*pool_);
  copy.generation_ = generation_;
  copy.blocks_ = blocks_;
  copy.past_ = past_;
  copy.length_ = length_;
  for (const uint32_t block : blocks_) pool_->blocks().share(block);
  for (const Past& past : past_) pool_->states().share(past.slot);
  return copy;
}

void Sequence::rewind(uint32_t length) {
  assert(length <= length_);
  if (lost()) length = 0;
  generation_ = pool_->generation();
  while (!past_.empty() && past_.back().length > length) {
    pool_->states().release(past_.back().slot);
    past_.pop_back();
  }
  length_ = !pool_->recurrent() ? length : past_.empty() ? 0 : past_.back().length;
  drop_blocks((size_t{length_} + kBlockPositions - 1) / kBlockPositions);
}

void Sequence::drop_blocks(size_t keep) {
  while (blocks_.size() > keep) {
    pool_->blocks().release(blocks_.back());
    blocks_.pop_back();
  }
}

kernels::StateSlots Sequence::states() const {
  return {.from = past_.empty() ? kernels::kAbsent : past_.back().slot,
          .to = next_slot_.value_or(kernels::kAbsent)};
}

Status Sequence::reserve(uint32_t count) {
  if (count == 0) return {};
  const size_t first = length_ / kBlockPositions;
  const size_t last = (size_t{length_} + count - 1) / kBlockPositions;
  SharedIds& pool = pool_->blocks();
  if (first < blocks_.size() && pool.shared(blocks_[first])) {
    const std::optional<uint32_t> own = pool.take();
    if (!own) return cache_full();
    pool_->cache().copy_block(blocks_[first], *own);
    pool.release(std::exchange(blocks_[first], *own));
  }
  blocks_.reserve(last + 1);  // a block that was taken must not get lost for want of memory
  while (blocks_.size() <= last) {
    const std::optional<uint32_t> block = pool.take();
    if (!block) return cache_full();
    blocks_.push_back(*block);
  }
  return reserve_state();
}

Status Sequence::reserve_state() {
  if (!pool_->recurrent() || next_slot_) return {};
  past_.reserve(kStatesPerSequence + 1);
  next_slot_ = pool_->states().take();
  while (!next_slot_ && forget_state(true)) next_slot_ = pool_->states().take();
  if (!next_slot_) return cache_full();
  return {};
}

void Sequence::advance(uint32_t count) {
  length_ += count;
  if (!pool_->recurrent()) return;
  past_.push_back({length_, *std::exchange(next_slot_, {})});
  while (past_.size() > kStatesPerSequence) forget_state(false);
}

// Forgets the state whose absence costs least: rewinding to just before the one after it then
// computes the gap again, which counts by how far back it lies. The present one stays.
bool Sequence::forget_state(bool only_own) {
  size_t cheapest = past_.size();
  double least = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i + 1 < past_.size(); ++i) {
    if (only_own && pool_->states().shared(past_[i].slot)) continue;
    const uint32_t before = i == 0 ? 0 : past_[i - 1].length;
    const double cost = static_cast<double>(past_[i + 1].length - before) /
                        static_cast<double>(length_ - past_[i].length);
    if (cost < least) least = cost, cheapest = i;
  }
  if (cheapest == past_.size()) return false;
  pool_->states().release(past_[cheapest].slot);
  past_.erase(past_.begin() + static_cast<ptrdiff_t>(cheapest));
  return true;
}

}  // namespace quern::engine
