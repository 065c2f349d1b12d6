// Exceptions of the standard library end here: at the borders of a module they become errors.
#pragma once

#include <new>
#include <system_error>

#include "gguf/result.h"

namespace quern {

// Runs `call`, which returns a Result. Errors besides its own: "out-of-memory", "threads".
template <typename Call>
auto catch_exceptions(Call call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::kFailure, "out-of-memory", "there is not enough memory");
  } catch (const std::system_error& error) {
    return fail(ErrorKind::kFailure, "threads",
                std::string("the system refuses another thread: ") + error.code().message());
  }
}

}  // namespace quern
