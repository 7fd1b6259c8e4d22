#include "engine/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "ops/step_layout.h"

namespace hadal::engine {
namespace {

std::int64_t pages_of(std::int64_t tokens) { return (tokens + ops::kPageTokens - 1) / ops::kPageTokens; }

std::int64_t whole_pages(std::int64_t tokens) { return tokens / ops::kPageTokens * ops::kPageTokens; }

double seconds_since(Scheduler::Clock::time_point begin) {
  return std::chrono::duration<double>(Scheduler::Clock::now() - begin).count();
}

/// Counts what an answer has cost so far.
void count(ServiceFigures& figures, const GenerationStatistics& statistics) {
  figures.prompt_tokens += statistics.prompt_tokens;
  figures.answer_tokens += statistics.answer_tokens;
  figures.drafted += statistics.drafted;
  figures.accepted += statistics.accepted;
  figures.rounds += statistics.rounds;
  for (std::size_t kept = 1; kept < statistics.rounds_by_accepted.size(); ++kept) {
    const std::size_t places = std::min(kept, figures.accepted_at.size());
    for (std::size_t at = 0; at < places; ++at) figures.accepted_at[at] += statistics.rounds_by_accepted[kept];
  }
}

std::int64_t common_length(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

Scheduler::Scheduler(model::Executor& executor, PrefixCache* cache, const text::Tokenizer* tokenizer,
                     const ServiceOptions& options)
    : executor_(executor),
      cache_(cache),
      setting_(SequenceSetting::of(executor, tokenizer)),
      options_(options),
      generator_(executor, {.chunk = executor.limits().max_rows}),
      store_(executor, options.put_away_bytes, options.put_away_directory) {
  const auto most = static_cast<std::size_t>(executor.limits().max_sequences);
  batch_.reserve(most);
  sequences_.reserve(most);
}

Status Scheduler::check(const ServiceRequest& request) const {
  const std::int64_t size = static_cast<std::int64_t>(request.prompt.size());
  if (size == 0) return fail(ErrorCode::kInvalidArgument, "the prompt has no tokens; an answer needs at least one");
  if (size >= setting_.context) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("the prompt has {} tokens, but the context holds {} with the "
                                                         "answer; shorten the prompt",
                                                         size, setting_.context));
  }
  for (const std::int64_t token : request.prompt) {
    if (token < 0 || token >= setting_.vocab_size) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("token id {} is outside the vocabulary of {}", token, setting_.vocab_size));
    }
  }
  const model::StatePool& pool = executor_.pool();
  if (pool.layout().page_bytes > 0 && pages_of(size + 1) > pool.max_pages()) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("the prompt has {} tokens, but the memory for states holds {} in all; give more memory",
                            size, pool.max_pages() * ops::kPageTokens));
  }
  return engine::check(request.options.sampling);
}

void Scheduler::add(RequestId id, ServiceRequest request, std::shared_ptr<RequestSink> sink) {
  auto task = std::make_unique<Task>();
  task->id = id;
  task->request = std::move(request);
  task->sink = std::move(sink);
  task->arrived = Clock::now();
  tasks_.push_back(std::move(task));
}

Scheduler::Task* Scheduler::find(RequestId id) const {
  const auto at = std::find_if(tasks_.begin(), tasks_.end(), [id](const auto& task) { return task->id == id; });
  return at == tasks_.end() ? nullptr : at->get();
}

void Scheduler::cancel(RequestId id) {
  Task* const task = find(id);
  if (task == nullptr) return;
  finish(*task, {}, FinishReason::kCancelled);
  erase_finished();
}

void Scheduler::end_all(const Error& error) {
  for (const auto& task : tasks_) finish(*task, tl::unexpected<Error>(error), FinishReason::kError);
  erase_finished();
}

void Scheduler::end_expired() {
  const auto now = Clock::now();
  for (const auto& task : tasks_) {
    const ServiceRequest& request = task->request;
    if (request.deadline && *request.deadline <= now) {
      finish(*task, fail(ErrorCode::kDeadlineExceeded, "the time limit of the request has passed"),
             FinishReason::kError);
    } else if (task->phase == Phase::kWaiting && request.queue_deadline && *request.queue_deadline <= now) {
      finish(*task, fail(ErrorCode::kResourceExhausted, "the request has waited too long for its turn"),
             FinishReason::kError);
    }
  }
  erase_finished();
}

std::optional<Scheduler::Clock::time_point> Scheduler::next_deadline() const {
  std::optional<Clock::time_point> next;
  const auto consider = [&next](const std::optional<Clock::time_point>& deadline) {
    if (deadline && (!next || *deadline < *next)) next = deadline;
  };
  for (const auto& task : tasks_) {
    consider(task->request.deadline);
    if (task->phase == Phase::kWaiting) consider(task->request.queue_deadline);
  }
  return next;
}

std::vector<Scheduler::Task*> Scheduler::candidates() const {
  std::unordered_map<std::string_view, std::int64_t> running;
  for (const auto& task : tasks_) running[task->request.client] += task->phase == Phase::kRunning ? 1 : 0;
  using Order = std::tuple<std::int64_t, bool, std::int64_t, RequestId>;
  std::vector<std::pair<Order, Task*>> ordered;
  for (const auto& task : tasks_) {
    if (task->phase != Phase::kWaiting && task->phase != Phase::kPutAway) continue;
    // Put away before waiting: they hold what was computed already.
    ordered.push_back(
        {{task->request.priority, task->phase == Phase::kWaiting, running[task->request.client], task->id},
         task.get()});
  }
  std::sort(ordered.begin(), ordered.end());
  std::vector<Task*> result;
  result.reserve(ordered.size());
  for (const auto& entry : ordered) result.push_back(entry.second);
  return result;
}

void Scheduler::admit() {
  // One at a time, since every admission changes whose turn it is.
  for (bool admitted = true; admitted;) {
    admitted = false;
    if (executor_.pool().free_slots() == 0) return;
    for (Task* const task : candidates()) {
      if (task->phase == Phase::kWaiting && waits_for_prefix(*task)) continue;
      const Admitted result = task->phase == Phase::kPutAway ? bring_back(*task) : admit(*task);
      if (result == Admitted::kNoRoom) return;
      admitted = true;
      break;
    }
    erase_finished();
  }
}

bool Scheduler::take_pages(model::SequenceState& state, std::int64_t tokens) {
  const std::int64_t missing = pages_of(tokens) - static_cast<std::int64_t>(state.pages().size());
  if (missing > executor_.pool().free_pages() && cache_ != nullptr) cache_->free_pages(missing);
  return state.reserve(tokens).has_value();
}

bool Scheduler::waits_for_prefix(Task& task) {
  if (!cached(task)) return false;
  if (task.waits_for != 0) {
    const Task* const first = find(task.waits_for);
    const bool going = first != nullptr && first->phase != Phase::kWaiting &&
                       (first->phase == Phase::kPutAway || first->sequence->state().length() < task.shared);
    if (going) return true;
    task.waits_for = 0;
    return false;
  }
  for (const auto& other : tasks_) {
    if (other->phase != Phase::kRunning || !cached(*other) || other->request.domain != task.request.domain) continue;
    const std::int64_t common =
        std::min(common_length(other->request.prompt, task.request.prompt), task.prompt_size() - 1);
    const std::int64_t length = other->sequence->state().length();
    // The rest of an equal prompt is kept to the last token but one, of another one to the last whole page.
    const std::int64_t shared = common == task.prompt_size() - 1 ? common : whole_pages(common);
    if (shared <= length || shared <= cache_->longest(task.request.domain, task.request.prompt)) continue;
    auto& keep = other->keep_at;
    const auto at = std::lower_bound(keep.begin(), keep.end(), shared, std::greater<>());
    if (at == keep.end() || *at != shared) keep.insert(at, shared);
    task.waits_for = other->id;
    task.shared = shared;
    return true;
  }
  return false;
}

Scheduler::Admitted Scheduler::admit(Task& task) {
  const std::span<const std::int64_t> prompt = task.request.prompt;
  PrefixTier tier = PrefixTier::kNone;
  model::SequenceState state;
  if (cached(task)) {
    auto match = cache_->find(task.request.domain, prompt);
    if (!match && match.error().code != ErrorCode::kResourceExhausted) {
      log::warning("the prefix cache gave nothing: {}", match.error().message);
    }
    if (match && *match) {
      tier = (*match)->tier;
      state = std::move((*match)->state);
    }
  }
  if (tier == PrefixTier::kNone) {
    auto fresh = executor_.pool().new_sequence();
    if (!fresh) return Admitted::kNoRoom;
    state = std::move(*fresh);
  }
  if (!take_pages(state, task.prompt_size() + 1)) return Admitted::kNoRoom;

  task.cached_tokens = state.length();
  task.sequence.emplace(model::SequenceState{}, setting_);
  task.sequence->reset(std::move(state), prompt.first(static_cast<std::size_t>(task.cached_tokens)));
  task.phase = Phase::kRunning;
  Status status = task.sequence->append(prompt.subspan(static_cast<std::size_t>(task.cached_tokens)));
  if (status) status = task.sequence->begin(task.request.options, *task.sink);
  if (!status) {
    finish(task, std::move(status), FinishReason::kError);
    return Admitted::kEnded;
  }
  plan_keeping(task);
  if (cached(task)) figures_.queried_tokens += task.prompt_size();
  figures_.cached_tokens += task.cached_tokens;
  if (tier == PrefixTier::kDisk) figures_.cached_tokens_on_disk += task.cached_tokens;
  task.sink->admitted({.prompt_tokens = task.prompt_size(),
                       .cached_tokens = task.cached_tokens,
                       .tier = tier,
                       .queue_seconds = seconds_since(task.arrived)});
  return Admitted::kYes;
}

Scheduler::Admitted Scheduler::bring_back(Task& task) {
  const std::int64_t wanted = std::max(task.stored->length() + 1, task.prompt_size() + 1);
  const std::int64_t missing = pages_of(wanted);
  if (missing > executor_.pool().free_pages() && cache_ != nullptr) cache_->free_pages(missing);
  if (missing > executor_.pool().free_pages()) return Admitted::kNoRoom;
  auto state = store_.take(*task.stored);
  if (!state && state.error().code == ErrorCode::kResourceExhausted) return Admitted::kNoRoom;
  task.stored.reset();
  if (!state) {
    finish(task, tl::unexpected(state.error()), FinishReason::kError);
    return Admitted::kEnded;
  }
  task.sequence->state() = std::move(*state);
  HADAL_CHECK(task.sequence->state().reserve(wanted).has_value(), "pages were counted before the state came back");
  task.phase = Phase::kRunning;
  return Admitted::kYes;
}

void Scheduler::plan_keeping(Task& task) {
  if (!cached(task)) return;
  const std::int64_t begin = task.cached_tokens;
  auto& keep = task.keep_at;
  for (const std::int64_t mark : task.request.marks) keep.push_back(whole_pages(mark));
  keep.push_back(whole_pages(task.prompt_size()));
  keep.push_back(cache_->divergence(task.request.domain, task.request.prompt));
  const std::int64_t every = options_.keep_every;
  for (std::int64_t at = (begin / every + 1) * every; at < task.prompt_size(); at += every) keep.push_back(at);
  std::erase_if(keep, [&](std::int64_t at) { return at <= begin || at > task.prompt_size(); });
  std::sort(keep.begin(), keep.end(), std::greater<>());
  keep.erase(std::unique(keep.begin(), keep.end()), keep.end());
}

void Scheduler::choose_batch() {
  batch_.clear();
  for (const auto& task : tasks_) {
    if (task->phase == Phase::kRunning && task->sink->ready()) batch_.push_back(task.get());
  }
  // Prompts take turns: whoever had rows last waits longest. Answers all go in, so that their order is nothing.
  std::sort(batch_.begin(), batch_.end(), [](const Task* a, const Task* b) {
    return std::tuple(a->request.priority, a->last_step, a->id) < std::tuple(b->request.priority, b->last_step, b->id);
  });
  for (Task* const task : std::vector<Task*>(batch_)) {
    if (task->phase == Phase::kRunning) make_room(*task);
  }
  std::erase_if(batch_, [](const Task* task) { return task->phase != Phase::kRunning; });
  sequences_.clear();
  for (Task* const task : batch_) {
    const std::int64_t length = task->sequence->state().length();
    std::int64_t stop = task->keep_at.empty() ? -1 : task->keep_at.back();
    if (stop < 0 && cached(*task) && !task->prefilling()) stop = whole_pages(length) + ops::kPageTokens;
    task->sequence->set_break(stop);
    sequences_.push_back(&*task->sequence);
  }
}

void Scheduler::make_room(Task& task) {
  model::SequenceState& state = task.sequence->state();
  const std::int64_t rows = task.prefilling() ? task.prompt_size() + 1 : state.length() + 1 + executor_.draft_length();
  const std::int64_t wanted = std::min(rows, setting_.context);
  while (!take_pages(state, wanted)) {
    Task* victim = &task;
    std::int64_t others = 0;
    for (const auto& other : tasks_) {
      if (other->phase != Phase::kRunning || other.get() == &task) continue;
      ++others;
      if (other->rank() > victim->rank()) victim = other.get();
    }
    if (victim == &task && others == 0) {
      finish(
          task,
          fail(ErrorCode::kResourceExhausted,
               fmt::format("the answer has reached {} tokens with its prompt, and the memory for states holds no more",
                           state.length())),
          FinishReason::kError);
      return;
    }
    put_away(*victim);
    if (victim == &task) return;
  }
}

void Scheduler::put_away(Task& task) {
  task.stored = store_.put(task.sequence->state());
  task.sequence->state() = {};
  task.phase = Phase::kPutAway;
  ++figures_.preemptions;
  figures_.preemptions_to_disk += task.stored->in_file() ? 1 : 0;
}

bool Scheduler::step() {
  end_expired();
  admit();
  choose_batch();
  erase_finished();
  if (sequences_.empty()) return false;
  const auto begin = Clock::now();
  const Status status = generator_.step(sequences_);
  ++figures_.steps;
  if (status && options_.on_step) {
    options_.on_step({.sequences = generator_.step_sequences(),
                      .tokens = generator_.step_tokens(),
                      .seconds = seconds_since(begin)});
  }
  for (Task* const task : batch_) {
    if (status) {
      after_step(*task);
    } else {
      finish(*task, status, FinishReason::kError);
    }
  }
  erase_finished();
  return true;
}

void Scheduler::after_step(Task& task) {
  task.last_step = figures_.steps;
  if (cached(task)) keep_state(task);
  if (!task.sequence->finished()) return;
  finish(task, task.sequence->status(), task.sequence->reason());
}

void Scheduler::keep_state(Task& task) {
  const model::SequenceState& state = task.sequence->state();
  const std::int64_t length = state.length();
  while (!task.keep_at.empty() && task.keep_at.back() <= length) {
    const std::int64_t at = task.keep_at.back();
    task.keep_at.pop_back();
    if (at != length) continue;
    const auto tokens = task.sequence->tokens().first(static_cast<std::size_t>(at));
    if (at % ops::kPageTokens == 0) {
      cache_->keep_anchor(task.request.domain, tokens, state);
    } else {
      cache_->keep_fork(task.request.domain, tokens, state);
    }
  }
  if (length > task.prompt_size() && length % ops::kPageTokens == 0 &&
      (!task.answer_anchor || task.answer_anchor->length() < length)) {
    task.answer_anchor = executor_.pool().snapshot(executor_.stream(), state);
  }
}

void Scheduler::keep_end(Task& task) {
  if (!cached(task) || !task.sequence || task.phase != Phase::kRunning) return;
  const auto tokens = task.sequence->tokens();
  if (task.answer_anchor) {
    const auto length = static_cast<std::size_t>(task.answer_anchor->length());
    cache_->keep_anchor(task.request.domain, tokens.first(length), *task.answer_anchor);
  }
  const auto length = static_cast<std::size_t>(task.sequence->state().length());
  if (options_.keep_tails && length > 0) {
    cache_->keep_tail(task.request.domain, tokens.first(length), task.sequence->state(), task.cached_tokens);
  }
}

void Scheduler::finish(Task& task, Status status, FinishReason reason) {
  RequestResult result{.status = std::move(status), .reason = reason};
  if (task.sequence) {
    if (!task.sequence->finished()) {
      // The tail of the text belongs to an answer that was cut by its reader, too.
      if (Status ended = task.sequence->finish(reason); !ended) log::warning("{}", ended.error().message);
    }
    if (reason != FinishReason::kError) keep_end(task);
    result.statistics = task.sequence->statistics();
    const auto tokens = task.sequence->tokens();
    const auto prompt = static_cast<std::size_t>(task.prompt_size());
    if (tokens.size() > prompt) result.tokens.assign(tokens.begin() + task.prompt_size(), tokens.end());
    count(figures_, result.statistics);
  }
  task.phase = Phase::kEnded;
  task.sequence.reset();
  task.stored.reset();
  task.sink->finished(result);
}

void Scheduler::erase_finished() {
  std::erase_if(tasks_, [](const auto& task) { return task->phase == Phase::kEnded; });
}

ServiceFigures Scheduler::figures() const {
  ServiceFigures figures = figures_;
  for (const auto& task : tasks_) {
    figures.running += task->phase == Phase::kRunning ? 1 : 0;
    figures.waiting += task->phase == Phase::kWaiting ? 1 : 0;
    figures.deferred += task->phase == Phase::kWaiting && task->waits_for != 0 ? 1 : 0;
    figures.put_away += task->phase == Phase::kPutAway ? 1 : 0;
    if (task->sequence) count(figures, task->sequence->statistics());
  }
  const model::StatePool& pool = executor_.pool();
  figures.free_pages = pool.free_pages();
  figures.pages = pool.max_pages();
  figures.free_slots = pool.free_slots();
  figures.slots = pool.max_sequences();
  figures.page_tokens = ops::kPageTokens;
  if (cache_ != nullptr) figures.cache = cache_->figures();
  return figures;
}

}  // namespace hadal::engine
