#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace hadal::e2e {

/// `hadal serve` on a port of its own, until it ends by itself, by a signal, or with this object.
class ServerProcess {
 public:
  /// When it is waited for no longer.
  enum class Until : std::uint8_t { kListening, kServing };

  /// Waits until it says where it listens or serves; port() is 0 if it ended instead.
  explicit ServerProcess(const std::vector<std::string>& arguments, Until until = Until::kServing) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    std::vector<std::string> words = {HADAL_PROGRAM, "serve", "--port", "0"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    child_ = ::fork();
    if (child_ < 0) throw std::runtime_error("cannot start " HADAL_PROGRAM);
    if (child_ == 0) {
      ::dup2(ends[1], until == Until::kServing ? STDOUT_FILENO : STDERR_FILENO);
      ::execv(HADAL_PROGRAM, argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    output_ = ends[0];
    const std::string line = read_line();
    const std::size_t colon = line.find("127.0.0.1:");
    if (colon != std::string::npos) port_ = static_cast<std::uint16_t>(std::stoi(line.substr(colon + 10)));
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess() {
    ::close(output_);
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    (void)wait();
  }

  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// What it says next on the stream that was waited for; "" at its end.
  [[nodiscard]] std::string read_line() const {
    std::string line;
    for (char byte = 0; ::read(output_, &byte, 1) == 1 && byte != '\n';) line += byte;
    return line;
  }
  void signal(int number) const { ::kill(child_, number); }
  /// Its exit code; 128 + signal when it was killed.
  [[nodiscard]] int wait() {
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t child_ = -1;
  int output_ = -1;
  std::uint16_t port_ = 0;
};

}  // namespace hadal::e2e
