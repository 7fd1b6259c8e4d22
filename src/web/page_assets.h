#pragma once

#include <span>
#include <string_view>

namespace hadal::web {

/// A file of the page that `hadal serve` shows at `/`, as it goes into an answer. All views live as long as the
/// program.
struct PageAsset {
  std::string_view path;           // of the request: "/", "/assets/index-<hash>.js"
  std::string_view content_type;   // with its charset
  std::string_view cache_control;  // names that hold a hash of their content may be kept for ever
  std::string_view etag;           // weak, with W/ and quotes: the same for both encodings
  std::string_view bytes;
  std::string_view gzip;  // the same bytes for clients that accept gzip; empty: not smaller
};

struct PageHeader {
  std::string_view name;
  std::string_view value;
};

/// The page, built from web/; empty in a build with HADAL_WEB=OFF.
std::span<const PageAsset> page_assets();

/// What every answer with an asset carries besides: the Content-Security-Policy and its kin, from
/// web/page_headers.json.
std::span<const PageHeader> page_headers();

/// The asset of a request's path, which is decoded and without its query; nullptr: there is none.
inline const PageAsset* find_page_asset(std::span<const PageAsset> assets, std::string_view path) {
  for (const PageAsset& asset : assets) {
    if (asset.path == path) return &asset;
  }
  return nullptr;
}

}  // namespace hadal::web
