#include "train/run_log.h"

#include <fmt/core.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <functional>
#include <optional>

#include "base/mapped_file.h"

namespace hadal::train {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLargestLog = std::int64_t{1} << 32;

/// One column: how its value is written and read. Doubles are written so that reading gives the same bits.
template <class Record>
struct Column {
  std::string name;
  std::function<std::string(const Record&)> write;
  std::function<bool(Record&, std::string_view)> read;
};

template <class T>
bool parse(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

template <class Record, class T>
Column<Record> column(std::string name, T Record::* member) {
  return {std::move(name), [member](const Record& record) { return fmt::format("{}", record.*member); },
          [member](Record& record, std::string_view text) { return parse(text, record.*member); }};
}

std::vector<Column<StepRecord>> step_columns() {
  std::vector<Column<StepRecord>> columns{
      column("step", &StepRecord::step),
      column("tokens", &StepRecord::tokens),
      column("stage", &StepRecord::stage),
      column("loss", &StepRecord::loss),
      column("mtp_loss", &StepRecord::mtp_loss),
      column("indexer_loss", &StepRecord::indexer_loss),
      column("captured", &StepRecord::captured),
      column("balance", &StepRecord::balance),
      column("learning_rate", &StepRecord::learning_rate),
      column("gradient_norm", &StepRecord::gradient_norm),
      column("load_mean", &StepRecord::load_mean),
      column("load_worst", &StepRecord::load_worst),
      column("unmoved", &StepRecord::unmoved),
      {"skipped", [](const StepRecord& record) { return record.skipped ? "1" : "0"; },
       [](StepRecord& record, std::string_view text) {
         record.skipped = text == "1";
         return text == "0" || text == "1";
       }},
      column("seconds", &StepRecord::seconds),
      column("optimizer_seconds", &StepRecord::optimizer_seconds)};
  for (std::size_t part = 0; part < formats::kModelParts; ++part) {
    columns.push_back(
        {fmt::format("norm of {}", name(static_cast<formats::ModelPart>(part))),
         [part](const StepRecord& record) { return fmt::format("{}", record.part_norms[part]); },
         [part](StepRecord& record, std::string_view text) { return parse(text, record.part_norms[part]); }});
  }
  return columns;
}

std::vector<Column<Evaluation>> evaluation_columns() {
  return {column("step", &Evaluation::step), column("tokens", &Evaluation::tokens), column("loss", &Evaluation::loss),
          column("bits_per_byte", &Evaluation::bits_per_byte)};
}

template <class Record>
std::string header(const std::vector<Column<Record>>& columns) {
  std::string line;
  for (const auto& column : columns) line += (line.empty() ? "" : ",") + column.name;
  return line + "\n";
}

template <class Record>
std::string line_of(const std::vector<Column<Record>>& columns, const Record& record) {
  std::string line;
  for (const auto& column : columns) line += (line.empty() ? "" : ",") + column.write(record);
  return line + "\n";
}

template <class Record>
std::optional<Record> parse_line(const std::vector<Column<Record>>& columns, std::string_view line) {
  Record record;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const std::size_t comma = line.find(',');
    if ((comma == std::string_view::npos) != (i + 1 == columns.size())) return std::nullopt;
    if (!columns[i].read(record, line.substr(0, comma))) return std::nullopt;
    if (comma != std::string_view::npos) line.remove_prefix(comma + 1);
  }
  return record;
}

/// The whole lines of a file up to step `step`; a last line that was cut off does not count.
template <class Record>
Result<std::vector<Record>> read_lines(const fs::path& path, const std::vector<Column<Record>>& columns,
                                       std::int64_t step) {
  std::vector<Record> records;
  std::error_code error;
  if (!fs::exists(path, error)) return records;
  HADAL_ASSIGN(const std::string text, read_file(path, kLargestLog));
  std::string_view rest = text;
  for (std::int64_t number = 1; rest.find('\n') != std::string_view::npos; ++number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() + 1);
    if (number == 1) {
      const std::string expected = header(columns);
      if (line == std::string_view(expected).substr(0, expected.size() - 1)) continue;
      return fail(ErrorCode::kCorrupt,
                  fmt::format("{}: is no log of this program's version; move it away", path.string()));
    }
    const auto record = parse_line(columns, line);
    if (!record) return fail(ErrorCode::kCorrupt, fmt::format("{}: line {} is damaged", path.string(), number));
    if (record->step <= step) records.push_back(*record);
  }
  return records;
}

template <class Record>
Status write_lines(const fs::path& path, const std::vector<Column<Record>>& columns,
                   const std::vector<Record>& records) {
  std::string text = header(columns);
  for (const Record& record : records) text += line_of(columns, record);
  return write_file_atomically(path, text);
}

}  // namespace

Status RunLog::Output::append(std::string_view line) {
  // Without a buffer in between, so that a killed program has lost nothing.
  if (file == nullptr) file.reset(std::fopen(path.c_str(), "ab"));
  if (file != nullptr && std::fwrite(line.data(), 1, line.size(), file.get()) == line.size() &&
      std::fflush(file.get()) == 0) {
    return {};
  }
  const int number = errno;
  const bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
  return fail(full ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable,
              fmt::format("{}: cannot write to it: {}", path.string(), std::strerror(number)));
}

Result<RunLog> RunLog::open(const fs::path& steps_file, const fs::path& evaluations_file, std::int64_t step) {
  RunLog log;
  HADAL_ASSIGN(log.records_, read_lines(steps_file, step_columns(), step));
  HADAL_ASSIGN(log.evaluations_, read_lines(evaluations_file, evaluation_columns(), step));
  HADAL_TRY(write_lines(steps_file, step_columns(), log.records_));
  HADAL_TRY(write_lines(evaluations_file, evaluation_columns(), log.evaluations_));
  log.steps_.path = steps_file;
  log.evaluations_file_.path = evaluations_file;
  return log;
}

Status RunLog::add(const StepRecord& record) {
  records_.push_back(record);
  return steps_.append(line_of(step_columns(), record));
}

Status RunLog::add(const Evaluation& evaluation) {
  evaluations_.push_back(evaluation);
  return evaluations_file_.append(line_of(evaluation_columns(), evaluation));
}

}  // namespace hadal::train
