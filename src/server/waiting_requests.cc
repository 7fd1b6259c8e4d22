#include "server/waiting_requests.h"

namespace hadal::server {

void WaitingRequests::see(std::string_view bytes) {
  if (faulty_) return;
  bytes_ += bytes;
  while (!bytes_.empty()) {
    if (!reader_) reader_ = std::make_unique<HttpReader>(limits_);
    HttpReader::Step step = HttpReader::Step::kDone;
    if (!has_head_) step = reader_->read_head(bytes_);
    has_head_ = step == HttpReader::Step::kDone;
    if (has_head_) step = reader_->read_body(bytes_);
    if (step == HttpReader::Step::kNeedMore) return;
    faulty_ = step == HttpReader::Step::kProblem;
    if (faulty_) return;
    ++count_;
    reader_.reset();
    has_head_ = false;
  }
}

}  // namespace hadal::server
