// Sequence: the cache blocks, and recurrent states, of one running text; StatePool: the blocks and
// states that sequences share.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "gguf/result.h"
#include "kernels/backend.h"

namespace quern::engine {

// Numbers below `count` that are handed out, and how many use each.
class SharedIds {
 public:
  explicit SharedIds(uint32_t count);

  std::optional<uint32_t> take();  // lowest first; none: all are used
  void share(uint32_t id) { ++users_[id]; }
  void release(uint32_t id);
  bool shared(uint32_t id) const { return users_[id] > 1; }
  size_t count() const { return users_.size(); }

 private:
  std::vector<uint32_t> users_;  // per id
  std::vector<uint32_t> free_;
};

// The blocks of a group of layers (kernels::Program::windows).
struct BlockGroup {
  uint32_t blocks;             // of the cache
  uint32_t window = 0;         // a row sees the last so many positions; 0: all
  uint32_t most = UINT32_MAX;  // blocks that a sequence keeps as long as it can give some back
};

// Owns a cache and counts how many sequences use each of its blocks and state slots.
class StatePool {
 public:
  StatePool(std::unique_ptr<kernels::Cache> cache, std::span<const BlockGroup> groups,
            uint32_t states);

  kernels::Cache& cache() { return *cache_; }
  // Another cache of as many blocks and states, or none for now: what sequences have computed is
  // lost, what they use stays theirs.
  void replace(std::unique_ptr<kernels::Cache> cache);
  uint32_t generation() const { return generation_; }  // of the cache
  const std::vector<BlockGroup>& groups() const { return groups_; }
  SharedIds& blocks(size_t group) { return blocks_[group]; }
  SharedIds& states() { return states_; }
  bool recurrent() const { return states_.count() > 0; }

 private:
  std::unique_ptr<kernels::Cache> cache_;
  std::vector<BlockGroup> groups_;
  std::vector<SharedIds> blocks_;  // of each group
  SharedIds states_;
  uint32_t generation_ = 0;
};

// States of its past that a sequence keeps, the present one included: what rewind() can return to.
inline constexpr uint32_t kStatesPerSequence = 8;

// Keys and values of positions [0, length), where layers have a window those of the last ones, and
// for recurrent models the state after the last of them and after a few earlier ones, the further
// back the fewer. Forks share both; a shared block is copied when one of its sequences writes to
// it, a state is never changed. Must not outlive the pool.
class Sequence {
 public:
  explicit Sequence(StatePool& pool)
      : pool_(&pool), generation_(pool.generation()), tables_(pool.groups().size()) {}
  Sequence(Sequence&& other) noexcept;
  Sequence& operator=(Sequence&& other) noexcept;
  ~Sequence();

  uint32_t length() const { return length_; }
  // Whether what it has computed was in a cache that is gone; rewind() makes it usable again.
  bool lost() const { return generation_ != pool_->generation(); }
  // The block table of a group of layers; what was given back is block 0.
  std::span<const uint32_t> blocks(size_t group = 0) const { return tables_[group].blocks; }
  kernels::StateSlots states() const;  // for the rows that were reserved

  // A second sequence with the same past; costs no copy until one of them writes.
  Sequence fork() const;
  // Forgets positions from `length` on; `length` must not be larger than length(). A recurrent
  // model returns to the last state it has kept from before, and a model that has given back what
  // the row at `length` would see begins anew, so that length() may be less than `length`
  // afterwards: the rows between must be computed again. A lost sequence forgets all.
  void rewind(uint32_t length);
  // What length() would be then.
  uint32_t rewound(uint32_t length) const;

  // Makes positions [length(), length() + count) writable. Errors: "cache-full".
  Status reserve(uint32_t count);
  // Counts `count` reserved positions as written.
  void advance(uint32_t count);

 private:
  struct Past {
    uint32_t length, slot;  // the state after `length` positions
  };

  // The blocks of a group of layers. Those before `first` were given back.
  struct Table {
    std::vector<uint32_t> blocks;
    size_t first = 0;
  };

  bool sees_all(uint32_t length) const;
  void drop_blocks(size_t group, size_t keep);
  void give_back(size_t group, size_t most);
  Status reserve_blocks(size_t group, uint32_t count);
  Result<uint32_t> take_block(size_t group);
  Status reserve_state();
  bool forget_state(bool only_own);

  StatePool* pool_;
  uint32_t generation_;                // of the cache that it is in
  std::vector<Table> tables_;          // of each group
  std::vector<Past> past_;             // ascending; the last one is the present
  std::optional<uint32_t> next_slot_;  // where the next step leaves its state
  uint32_t length_ = 0;
};

}  // namespace quern::engine
