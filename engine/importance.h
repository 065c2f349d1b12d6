// Importance data: for every matrix, how large its inputs are on some text. Quantizers weigh errors
// by it. The file format is the GGUF form that other tools write: tensors NAME.in_sum2 [columns,
// matrices], sums of squared inputs, and NAME.counts [1, matrices], how many inputs were added.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"

namespace quern::engine {

class Importance {
 public:
  // Sums of one weight tensor; a stack of experts has several matrices.
  struct Sums {
    uint64_t columns = 0;
    std::vector<float> squares;  // [matrices][columns]
    std::vector<float> counts;   // [matrices]
  };

  // Errors: those of File::open, "imatrix" (not such a file, or inconsistent).
  static Result<Importance> read(const std::string& path);
  // Errors: "write".
  Status write(const std::string& path, const std::string& dataset) const;

  // Mean squared input of every column of one matrix; empty if nothing is known of it.
  std::vector<float> of(std::string_view tensor, uint64_t matrix) const;

  std::map<std::string, Sums, std::less<>> tensors;
  uint32_t chunks = 0;  // pieces of text, and tokens in each
  uint32_t chunk_size = 0;
};

// Adds up the inputs of a model's matrices while an engine runs (Engine::observe_inputs).
class ImportanceCollector {
 public:
  explicit ImportanceCollector(std::span<const gguf::TensorView> weights);

  // rows: [rows][values], the inputs of one matrix.
  void add(std::string_view weight, size_t expert, std::span<const float> rows, size_t values);
  // What was added so far; matrices that nothing was added for are left out.
  Importance result() const;

 private:
  struct Entry {
    std::vector<double> squares;  // [matrices][columns]
    std::vector<double> counts;   // [matrices]
    uint64_t columns;
  };
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace quern::engine
