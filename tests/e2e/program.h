#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::e2e {

struct Finished {
  int exit_code = -1;  // 128 + signal when it was killed
  std::string out;
  std::string err;
};

/// Exit code of a program that was not started because its surroundings could not be prepared.
inline constexpr int kNotPrepared = 125;

/// Runs the built program with `arguments` and `input` on standard input until it ends. `prepare` runs in the new
/// process before the program does, to limit what it may do; when it answers false nothing is started.
inline Finished run_hadal(const std::vector<std::string>& arguments, std::string_view input = {},
                          const std::function<bool()>& prepare = nullptr) {
  std::string pattern = (std::filesystem::temp_directory_path() / "hadal_e2e_XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
  const std::filesystem::path folder = pattern;
  const auto path = [&folder](const char* name) { return (folder / name).string(); };
  std::ofstream(path("in"), std::ios::binary) << input;

  const std::string in = path("in");
  const std::string out = path("out");
  const std::string err = path("err");
  std::vector<std::string> words = {HADAL_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("cannot start " HADAL_PROGRAM);
  if (child == 0) {
    ::dup2(::open(in.c_str(), O_RDONLY), STDIN_FILENO);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    if (prepare && !prepare()) ::_exit(kNotPrepared);
    ::execv(HADAL_PROGRAM, argv.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);

  const auto contents = [&path](const char* name) {
    std::ostringstream text;
    text << std::ifstream(path(name), std::ios::binary).rdbuf();
    return text.str();
  };
  Finished finished{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), contents("out"), contents("err")};
  std::filesystem::remove_all(folder);
  return finished;
}

}  // namespace hadal::e2e
