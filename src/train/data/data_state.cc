#include "train/data/data_state.h"

#include <bit>
#include <nlohmann/json.hpp>

namespace hadal::train {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kVersion = 1;

}  // namespace

// The compiler's field order is the file's; both directions stand beside each other so that none is forgotten.
std::string to_json(const DataState& state) {
  Json sources = Json::array();
  for (const SourceState& source : state.sources) {
    Json buffer = Json::array();
    for (const Piece& piece : source.buffer) buffer.push_back({piece.document, piece.offset, piece.length});
    sources.push_back({{"documents", source.documents},
                       {"tokens", source.tokens},
                       {"epoch", source.epoch},
                       {"position", source.position},
                       {"choices", source.choices},
                       {"balance", source.balance},
                       {"drawn", source.drawn},
                       {"used", source.used},
                       {"learned", source.learned},
                       {"cut", source.cut},
                       {"dropped", source.dropped},
                       {"share_bits", std::bit_cast<std::uint64_t>(source.share)},
                       {"buffer", std::move(buffer)}});
  }
  const Json json = {{"version", kVersion},      {"seed", state.seed},           {"longest_piece", state.longest_piece},
                     {"seq_len", state.seq_len}, {"rows", state.rows},           {"balance", state.balance},
                     {"padding", state.padding}, {"sources", std::move(sources)}};
  return json.dump();
}

Result<DataState> parse_data_state(std::string_view text) {
  // Every access throws on a missing member or one of another type.
  try {
    const Json json = Json::parse(text);
    if (json.at("version") != kVersion) {
      return fail(ErrorCode::kCorrupt, "the saved place in the data has another version; start the run anew");
    }
    DataState state{.seed = json.at("seed"),
                    .longest_piece = json.at("longest_piece"),
                    .seq_len = json.at("seq_len"),
                    .rows = json.at("rows"),
                    .balance = json.at("balance"),
                    .padding = json.at("padding"),
                    .sources = {}};
    for (const Json& entry : json.at("sources")) {
      SourceState source{.documents = entry.at("documents"),
                         .tokens = entry.at("tokens"),
                         .epoch = entry.at("epoch"),
                         .position = entry.at("position"),
                         .choices = entry.at("choices"),
                         .balance = entry.at("balance"),
                         .drawn = entry.at("drawn"),
                         .used = entry.at("used"),
                         .learned = entry.at("learned"),
                         .cut = entry.at("cut"),
                         .dropped = entry.at("dropped"),
                         .share = std::bit_cast<double>(entry.at("share_bits").get<std::uint64_t>()),
                         .buffer = {}};
      for (const Json& piece : entry.at("buffer")) {
        source.buffer.push_back({.document = piece.at(0), .offset = piece.at(1), .length = piece.at(2)});
      }
      state.sources.push_back(std::move(source));
    }
    return state;
  } catch (const Json::exception& error) {
    return fail(ErrorCode::kCorrupt, std::string("the saved place in the data cannot be read: ") + error.what());
  }
}

}  // namespace hadal::train
