#include <filesystem>

#include "tools/bundled_model.h"

namespace quern::tools {

Result<std::string> bundled_model() {
  namespace fs = std::filesystem;
  constexpr const char* kName = "quern-tiny-stories-Q4_K_M.gguf";
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  // From build/PRESET/quern up to the source tree; then where this program was built.
  for (const fs::path& folder :
       {program / "../share/quern/models", program / "../../models", fs::path(QUERN_MODELS_DIR)}) {
    const fs::path path = (folder / kName).lexically_normal();
    if (fs::exists(path, error)) return path.string();
  }
  return bad_input("bundled-model",
                   "the bundled model is not where it should be; name a model: quern run MODEL");
}

}  // namespace quern::tools
