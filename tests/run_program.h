// Runs the quern program as a user would and returns what it said.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tests/temporary_folder.h"

namespace quern::test {

struct ProgramResult {
  int exit_code = -1;  // 128 + n when signal n ended it
  std::string out, err;
  double cpu_seconds = 0;  // not elapsed time, which depends on the neighbours
};

// Standard input is `input`; files instead of pipes, so that nothing can block. `started` is told
// the process id. `address_space`: bytes of it that the program may take (ulimit -v); 0: any.
inline ProgramResult run_program(const std::vector<std::string>& arguments,
                                 std::string_view input = {},
                                 const std::function<void(pid_t)>& started = {},
                                 uint64_t address_space = 0) {
  const TemporaryFolder folder;
  folder.write("in", std::as_bytes(std::span(input)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const char* const names[] = {"in", "out", "err"};
  for (int stream = 0; stream < 3; ++stream) {
    const int flags = stream == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC;
    posix_spawn_file_actions_addopen(&actions, stream, folder.file(names[stream]).c_str(), flags,
                                     0600);
  }
  std::vector<std::string> command = {QUERN_PROGRAM};
  if (address_space > 0) {
    const std::string limit = std::to_string(address_space >> 10);
    command = {"/bin/sh", "-c", "ulimit -v " + limit + " && exec \"$0\" \"$@\"", QUERN_PROGRAM};
  }
  command.insert(command.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t child;
  const int error = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("cannot start the program");

  if (started) started(child);
  int status = 0;
  rusage usage;
  ::wait4(child, &status, 0, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  const auto read = [&](const char* name) {
    std::ifstream file(folder.file(name), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read("out"),
          read("err"), seconds(usage.ru_utime) + seconds(usage.ru_stime)};
}

}  // namespace quern::test
