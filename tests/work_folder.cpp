// Test programs work in the folder where they are, wherever they were started: paths in them are
// relative to it.
#include <unistd.h>

#include <cstdio>
#include <string>

namespace {

// Before all constructors of statics: some look for files.
[[gnu::constructor(101)]] void go_to_program() {
  char path[4096];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
  const std::string program(path, size > 0 ? static_cast<size_t>(size) : 0);
  if (::chdir(program.substr(0, program.rfind('/')).c_str()) != 0) std::perror("chdir");
}

}  // namespace
