// The chat on a (pseudo) terminal, run as a program on the bundled model.
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

#include <chrono>
#include <csignal>
#include <filesystem>

#include "tests/temporary_folder.h"
#include "tools/sizes.h"

namespace quern {
namespace {

constexpr const char* kCtrlC = "\x03";
constexpr const char* kCtrlD = "\x04";
constexpr const char* kCtrlP = "\x10";  // the previous line of the history

// A terminal in which `quern run` runs.
class Terminal {
 public:
  Terminal(const test::TemporaryFolder& state, std::vector<std::string> arguments) {
    winsize size = {.ws_row = 50, .ws_col = 200, .ws_xpixel = 0, .ws_ypixel = 0};
    if (::openpty(&master_, &slave_, nullptr, nullptr, &size) != 0) {
      throw std::runtime_error("cannot open a terminal");
    }
    ::tcgetattr(slave_, &before_);
    arguments.insert(arguments.begin(), {QUERN_PROGRAM, "run", "--threads", "2", "--temp", "0"});
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const std::string folder = state.file("state");
    child_ = ::fork();
    if (child_ == 0) {
      ::login_tty(slave_);
      ::setenv("XDG_STATE_HOME", folder.c_str(), 1);
      ::setenv("TERM", "xterm", 1);
      ::execv(QUERN_PROGRAM, argv.data());
      ::_exit(127);
    }
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(master_);
    ::close(slave_);
  }

  void type(const std::string& keys) {
    ASSERT_EQ(::write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }

  // Reads until `text` has appeared after what was expected before; `skipped` is what came before.
  bool expect(const std::string& text, std::string* skipped = nullptr) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    size_t found;
    while ((found = output_.find(text, seen_)) == std::string::npos) {
      if (!read_some() || std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "no \"" << text << "\" in: " << output_.substr(seen_);
        return false;
      }
    }
    if (skipped) *skipped = output_.substr(seen_, found - seen_);
    seen_ = found + text.size();
    return true;
  }

  void signal(int number) { ::kill(child_, number); }

  // The status of the program, which must be about to end.
  int wait() {
    int status = 0;
    // It may have to get rid of its output before it can end.
    while (::waitpid(child_, &status, WNOHANG) == 0) read_some(10);
    child_ = -1;
    return status;
  }

  bool restored() const {
    termios now = {};
    ::tcgetattr(slave_, &now);
    return now.c_lflag == before_.c_lflag && now.c_iflag == before_.c_iflag &&
           now.c_oflag == before_.c_oflag && now.c_cflag == before_.c_cflag &&
           std::equal(now.c_cc, now.c_cc + NCCS, before_.c_cc);
  }

 private:
  bool read_some(int milliseconds = 60000) {
    pollfd wait = {master_, POLLIN, 0};
    if (::poll(&wait, 1, milliseconds) <= 0) return false;
    char bytes[4096];
    const ssize_t count = ::read(master_, bytes, sizeof bytes);
    if (count <= 0) return false;
    output_.append(bytes, static_cast<size_t>(count));
    return true;
  }

  int master_ = -1, slave_ = -1;
  pid_t child_ = -1;
  termios before_ = {};
  std::string output_;
  size_t seen_ = 0;
};

class Repl : public ::testing::Test {
 protected:
  test::TemporaryFolder state_;
};

TEST_F(Repl, answersAndMetersTheContext) {
  Terminal terminal(state_, {});
  terminal.expect("[  0/512] > ");
  terminal.type("Hello!\r");
  terminal.expect("Hello! I am Quern. Shall I tell you a story?");
  terminal.expect("[ 19/512] > ");
  terminal.type("What is\\\r");
  terminal.expect("... ");
  terminal.type("7 plus 5?\r");
  terminal.expect("/512] > ");
  terminal.type("/quit\r");
  EXPECT_EQ(terminal.wait(), 0);
  EXPECT_TRUE(terminal.restored());
}

TEST_F(Repl, keepsTheCacheOfEarlierTurns) {
  Terminal terminal(state_, {"--stats"});
  terminal.expect("> ");
  terminal.type("Hello!\r");
  terminal.expect("(0 kept from before)");
  terminal.expect("> ");
  terminal.type("What is 7 plus 5?\r");
  terminal.expect("(20 kept from before)");
  terminal.expect("> ");
  terminal.type("/set ctx 256\r");  // loads the model again
  terminal.expect("/256] > ");
  terminal.type("/retry\r");
  terminal.expect("7 plus 5 is 12.");
  terminal.expect("(0 kept from before)");
}

// A new context reads no file: with --no-mmap that would be a long wait that Ctrl-C cannot end.
TEST_F(Repl, setsAContextWithoutReadingTheFileAgain) {
  const std::string path = state_.file("model.gguf");
  std::filesystem::copy_file(QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf", path);
  Terminal terminal(state_, {"--no-mmap", path});
  ASSERT_TRUE(terminal.expect("> "));
  std::filesystem::remove(path);
  terminal.type("/set ctx 256\r");
  ASSERT_TRUE(terminal.expect("/256] > "));
  terminal.type("What is 7 plus 5?\r");
  terminal.expect("7 plus 5 is 12.");
}

// Pages of files, of the model and of the program with its libraries, are no more than planned,
// after two loads and the code of several commands.
TEST_F(Repl, measuresNoMoreOfFilesThanPlanned) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers are libraries of their own";
#endif
  Terminal terminal(state_, {});
  terminal.expect("> ");
  terminal.type("What is 7 plus 5?\r");
  terminal.expect("7 plus 5 is 12.");
  terminal.type("/set ctx 256\r");
  terminal.expect("/256] > ");
  terminal.type("Hello!\r");
  terminal.expect("tell you a story?");
  terminal.type("/plan\r");
  std::string planned, measured;
  ASSERT_TRUE(terminal.expect("memory planned ") && terminal.expect(" + ") &&
              terminal.expect(" mapped", &planned) && terminal.expect("measured ") &&
              terminal.expect(" + ") && terminal.expect(" mapped", &measured));
  const uint64_t most = tools::parse_size(planned).value_or(0);
  const uint64_t pages = tools::parse_size(measured).value_or(UINT64_MAX);
  EXPECT_LE(pages, most);
  EXPECT_GE(pages + (8 << 20), most);
}

TEST_F(Repl, ctrlCStopsAnAnswer) {
  // Without its end token (2) the model goes on until the context is full.
  Terminal terminal(state_, {"--raw", "--ctx", "100000", "--logit-bias", "2=-inf"});
  terminal.expect("> ");
  terminal.type("Once upon\r");
  terminal.expect(" a time");
  terminal.type(kCtrlC);
  terminal.expect("[stopped]");
  terminal.expect("/100000] > ");
  terminal.type("/quit\r");
  EXPECT_EQ(terminal.wait(), 0);
  EXPECT_TRUE(terminal.restored());
}

TEST_F(Repl, ctrlCTwiceAtThePromptLeaves) {
  Terminal terminal(state_, {});
  terminal.expect("> ");
  terminal.type("half a line");
  terminal.expect("half a line");
  terminal.type(kCtrlC);
  terminal.expect("Ctrl-C again");
  terminal.expect("> ");
  terminal.type("x");
  terminal.expect("x");
  terminal.type(kCtrlC);  // a key was pressed in between: this is a first one
  terminal.expect("Ctrl-C again");
  terminal.expect("> ");
  terminal.type(kCtrlC);
  EXPECT_EQ(terminal.wait(), 0);
  EXPECT_TRUE(terminal.restored());
}

TEST_F(Repl, ctrlDLeaves) {
  Terminal terminal(state_, {});
  terminal.expect("> ");
  terminal.type(kCtrlD);
  EXPECT_EQ(terminal.wait(), 0);
  EXPECT_TRUE(terminal.restored());
}

TEST_F(Repl, restoresTheTerminalWhenItIsEnded) {
  for (const int number : {SIGTERM, SIGHUP, SIGQUIT}) {
    Terminal terminal(state_, {});
    terminal.expect("> ");
    terminal.signal(number);
    const int status = terminal.wait();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == number) << number;
    EXPECT_TRUE(terminal.restored()) << number;
  }
}

TEST_F(Repl, remembersLinesInAPrivateFile) {
  for (const char* keys : {"/set temp\r", kCtrlP}) {
    Terminal terminal(state_, {});
    terminal.expect("> ");
    terminal.type(keys);
    terminal.expect("/set temp");
    if (keys == kCtrlP) break;
    terminal.expect("> ");
    terminal.type(kCtrlD);
    EXPECT_EQ(terminal.wait(), 0);
  }
  const auto file = std::filesystem::path(state_.file("state")) / "quern/history";
  EXPECT_EQ(std::filesystem::status(file).permissions() & std::filesystem::perms::all,
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(Repl, readsAndWritesUtf8) {
  Terminal terminal(state_, {});
  terminal.expect("> ");
  terminal.type(
      "/system Gr\xC3\xBC\xC3\x9F"
      "e \xE2\x82\xACx\x7F\r");  // x is deleted again
  terminal.expect("/512] > ");
  terminal.type("/system\r");
  terminal.expect(
      "Gr\xC3\xBC\xC3\x9F"
      "e \xE2\x82\xAC\r\n");
}

}  // namespace
}  // namespace quern
