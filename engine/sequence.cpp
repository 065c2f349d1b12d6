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

// The first block that a row at `position` sees some of.
size_t first_seen(uint32_t position, uint32_t window) {
  if (window == 0 || position < window) return 0;
  return (position - window + 1) / kBlockPositions;
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

StatePool::StatePool(std::unique_ptr<kernels::Cache> cache, std::span<const BlockGroup> groups,
                     uint32_t states)
    : cache_(std::move(cache)), groups_(groups.begin(), groups.end()), states_(states) {
  for (const BlockGroup& group : groups_) blocks_.emplace_back(group.blocks);
}

void StatePool::replace(std::unique_ptr<kernels::Cache> cache) {
  cache_ = std::move(cache);
  ++generation_;
}

Sequence::Sequence(Sequence&& other) noexcept
    : pool_(other.pool_),
      generation_(other.generation_),
      tables_(std::exchange(other.tables_, {})),
      past_(std::exchange(other.past_, {})),
      next_slot_(std::exchange(other.next_slot_, {})),
      length_(std::exchange(other.length_, 0)) {}

Sequence& Sequence::operator=(Sequence&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(generation_, other.generation_);
  std::swap(tables_, other.tables_);
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
  copy.tables_ = tables_;
  copy.past_ = past_;
  copy.length_ = length_;
  for (size_t group = 0; group < tables_.size(); ++group) {
    const Table& table = tables_[group];
    for (size_t i = table.first; i < table.blocks.size(); ++i) {
      pool_->blocks(group).share(table.blocks[i]);
    }
  }
  for (const Past& past : past_) pool_->states().share(past.slot);
  return copy;
}

uint32_t Sequence::rewound(uint32_t length) const {
  if (lost()) return 0;
  if (pool_->recurrent()) {
    const auto after = std::ranges::upper_bound(past_, length, {}, &Past::length);
    length = after == past_.begin() ? 0 : std::prev(after)->length;
  }
  return sees_all(length) ? length : 0;
}

void Sequence::rewind(uint32_t length) {
  assert(length <= length_);
  length_ = rewound(length);
  generation_ = pool_->generation();
  while (!past_.empty() && past_.back().length > length_) {
    pool_->states().release(past_.back().slot);
    past_.pop_back();
  }
  for (size_t group = 0; group < tables_.size(); ++group) {
    drop_blocks(group, (size_t{length_} + kBlockPositions - 1) / kBlockPositions);
  }
}

// Whether everything is kept that a row at position `length` sees.
bool Sequence::sees_all(uint32_t length) const {
  for (size_t group = 0; group < tables_.size(); ++group) {
    if (tables_[group].first > first_seen(length, pool_->groups()[group].window)) return false;
  }
  return true;
}

void Sequence::drop_blocks(size_t group, size_t keep) {
  auto& [blocks, first] = tables_[group];
  while (blocks.size() > keep) {
    if (blocks.size() > first) pool_->blocks(group).release(blocks.back());
    blocks.pop_back();
  }
  first = std::min(first, keep);
}

// Gives back blocks that no row will see any more, oldest first, until there are at most `most`.
void Sequence::give_back(size_t group, size_t most) {
  auto& [blocks, first] = tables_[group];
  const size_t seen = first_seen(length_, pool_->groups()[group].window);
  for (; first < seen && blocks.size() - first > most; ++first) {
    pool_->blocks(group).release(std::exchange(blocks[first], 0));
  }
}

kernels::StateSlots Sequence::states() const {
  return {.from = past_.empty() ? kernels::kAbsent : past_.back().slot,
          .to = next_slot_.value_or(kernels::kAbsent)};
}

Status Sequence::reserve(uint32_t count) {
  if (count == 0) return {};
  for (size_t group = 0; group < tables_.size(); ++group) {
    QUERN_CHECK(reserve_blocks(group, count));
  }
  return reserve_state();
}

Status Sequence::reserve_blocks(size_t group, uint32_t count) {
  const size_t first = length_ / kBlockPositions;
  const size_t end = (size_t{length_} + count - 1) / kBlockPositions + 1;
  std::vector<uint32_t>& blocks = tables_[group].blocks;
  if (first < blocks.size() && pool_->blocks(group).shared(blocks[first])) {
    QUERN_TRY(const uint32_t own, take_block(group));
    pool_->cache().copy_block(static_cast<uint32_t>(group), blocks[first], own);
    pool_->blocks(group).release(std::exchange(blocks[first], own));
  }
  blocks.reserve(end);  // a block that was taken must not get lost for want of memory
  if (end > blocks.size()) {
    const size_t missing = end - blocks.size(), most = pool_->groups()[group].most;
    give_back(group, most - std::min(most, missing));
  }
  while (blocks.size() < end) {
    QUERN_TRY(const uint32_t block, take_block(group));
    blocks.push_back(block);
  }
  return {};
}

Result<uint32_t> Sequence::take_block(size_t group) {
  std::optional<uint32_t> block = pool_->blocks(group).take();
  if (!block) {
    give_back(group, 0);
    block = pool_->blocks(group).take();
  }
  if (!block) return cache_full();
  return *block;
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
