#include "line_reader.h"

#include <fmt/format.h>
#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace hadal::apps {

struct LineReader::Terminal {
  EditLine* line = nullptr;
  History* history = nullptr;
  HistEvent event{};

  ~Terminal() {
    if (line != nullptr) el_end(line);
    if (history != nullptr) history_end(history);
  }
};

namespace {

char* prompt_of(EditLine* line) {
  void* data = nullptr;
  el_get(line, EL_CLIENTDATA, &data);
  return static_cast<std::string*>(data)->data();
}

}  // namespace

LineReader::LineReader(std::string prompt) : prompt_(std::move(prompt)) {
  if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1) return;
  auto terminal = std::make_unique<Terminal>();
  terminal->line = el_init("hadal", stdin, stdout, stderr);
  terminal->history = history_init();
  if (terminal->line == nullptr || terminal->history == nullptr) return;
  constexpr int kLines = 1000;
  history(terminal->history, &terminal->event, H_SETSIZE, kLines);
  el_set(terminal->line, EL_CLIENTDATA, &prompt_);
  el_set(terminal->line, EL_PROMPT, prompt_of);
  el_set(terminal->line, EL_EDITOR, "emacs");
  el_set(terminal->line, EL_HIST, history, terminal->history);
  // Ctrl-C is a key while a line is edited: it empties the line.
  el_set(terminal->line, EL_SETTY, "-d", "-isig", nullptr);
  el_set(terminal->line, EL_BIND, "^C", "em-kill-line", nullptr);
  el_source(terminal->line, nullptr);  // ~/.editrc, as other programs with libedit do
  terminal_ = std::move(terminal);
}

LineReader::~LineReader() = default;

Result<std::optional<std::string>> LineReader::next() {
  if (!terminal_) return next_plain();
  int count = 0;
  const char* text = el_gets(terminal_->line, &count);
  if (text == nullptr || count <= 0) {
    fmt::print("\n");
    return std::optional<std::string>();
  }
  history(terminal_->history, &terminal_->event, H_ENTER, text);
  std::string line(text, static_cast<std::size_t>(count));
  if (line.ends_with('\n')) line.pop_back();
  return line;
}

Result<std::optional<std::string>> LineReader::next_plain() {
  constexpr std::size_t kLimit = std::size_t{1} << 20;
  std::string line;
  for (int character = 0; (character = std::getchar()) != '\n';) {
    if (character == EOF) {
      if (std::ferror(stdin) != 0 && errno == EINTR) {
        std::clearerr(stdin);
        line.clear();
        continue;
      }
      if (std::ferror(stdin) != 0) {
        return fail(ErrorCode::kUnavailable, fmt::format("standard input: cannot read it: {}", std::strerror(errno)));
      }
      if (line.empty()) return std::optional<std::string>();
      break;
    }
    line += static_cast<char>(character);
    if (line.size() > kLimit) {
      return fail(ErrorCode::kInvalidArgument, "standard input: a line has more than 1,048,576 bytes");
    }
  }
  return line;
}

}  // namespace hadal::apps
