#include "web/page_assets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/beast/zlib/inflate_stream.hpp>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace hadal::web {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

// The content of a gzip file without name and comment (RFC 1952): ten bytes before, eight behind.
std::string gunzip(std::string_view file, std::size_t expected) {
  constexpr std::size_t kHeader = 10;
  constexpr std::size_t kTrailer = 8;
  if (file.size() < kHeader + kTrailer || file.substr(0, 4) != std::string_view("\x1f\x8b\x08\0", 4)) return "no gzip";
  std::string content(expected + 1, '\0');
  boost::beast::zlib::z_params stream;
  stream.next_in = file.data() + kHeader;
  stream.avail_in = file.size() - kHeader - kTrailer;
  stream.next_out = content.data();
  stream.avail_out = content.size();
  boost::beast::zlib::inflate_stream inflater;
  boost::beast::error_code error;
  inflater.write(stream, boost::beast::zlib::Flush::finish, error);
  if (error != boost::beast::zlib::error::end_of_stream) return error.message();
  content.resize(stream.total_out);
  return content;
}

TEST(PageAssets, IndexNamesItsScriptAndStyleAndNothingElse) {
  const PageAsset* index = find_page_asset(page_assets(), "/");
  ASSERT_NE(index, nullptr);
  EXPECT_EQ(index->content_type, "text/html; charset=utf-8");
  EXPECT_EQ(index->cache_control, "no-cache");
  std::set<std::string> named;
  for (const std::string_view attribute : {"src=\"", "href=\""}) {
    std::size_t at = index->bytes.find(attribute);
    for (; at != std::string_view::npos; at = index->bytes.find(attribute, at + 1)) {
      const std::size_t begin = at + attribute.size();
      const std::string_view target = index->bytes.substr(begin, index->bytes.find('"', begin) - begin);
      ASSERT_THAT(target, StartsWith("./assets/"));
      const PageAsset* asset = find_page_asset(page_assets(), target.substr(1));
      ASSERT_NE(asset, nullptr) << target;
      EXPECT_EQ(asset->cache_control, "public, max-age=31536000, immutable") << target;
      named.emplace(asset->content_type);
    }
  }
  EXPECT_EQ(named,
            (std::set<std::string>{"image/svg+xml", "text/css; charset=utf-8", "text/javascript; charset=utf-8"}));
  // The policy forbids scripts in the page itself.
  EXPECT_EQ(index->bytes.find("<script>"), std::string_view::npos);
  EXPECT_EQ(index->bytes.find("<style"), std::string_view::npos);
}

TEST(PageAssets, CompressedBytesAreTheSameBytes) {
  ASSERT_FALSE(page_assets().empty());
  for (const PageAsset& asset : page_assets()) {
    ASSERT_FALSE(asset.bytes.empty()) << asset.path;
    if (asset.gzip.empty()) {
      EXPECT_LT(asset.bytes.size(), 1024U) << asset.path;
      continue;
    }
    EXPECT_LT(asset.gzip.size(), asset.bytes.size()) << asset.path;
    EXPECT_EQ(gunzip(asset.gzip, asset.bytes.size()), asset.bytes) << asset.path;
  }
}

TEST(PageAssets, PathsAndTagsDiffer) {
  std::set<std::string_view> paths;
  std::set<std::string_view> tags;
  for (const PageAsset& asset : page_assets()) {
    EXPECT_THAT(asset.path, StartsWith("/"));
    EXPECT_THAT(std::string(asset.etag), MatchesRegex("W/\"[0-9a-f]{32}\""));
    EXPECT_TRUE(paths.insert(asset.path).second) << asset.path;
    EXPECT_TRUE(tags.insert(asset.etag).second) << asset.path;
  }
}

TEST(PageAssets, OnlyExactPathsAreFound) {
  EXPECT_EQ(find_page_asset(page_assets(), ""), nullptr);
  EXPECT_EQ(find_page_asset(page_assets(), "/index.html"), nullptr);
  EXPECT_EQ(find_page_asset(page_assets(), "/assets"), nullptr);
  EXPECT_EQ(find_page_asset({}, "/"), nullptr);
}

TEST(PageAssets, WholePageIsSmall) {
  std::size_t plain = 0;
  for (const PageAsset& asset : page_assets()) plain += asset.bytes.size();
  EXPECT_LT(plain, 300'000U);
}

TEST(PageAssets, LicencesOfThePackagesInsideAreThere) {
  const PageAsset* licenses = find_page_asset(page_assets(), "/licenses.txt");
  ASSERT_NE(licenses, nullptr);
  EXPECT_THAT(licenses->bytes, HasSubstr("svelte 5."));
  EXPECT_THAT(licenses->bytes, HasSubstr("markdown-it 15."));
  EXPECT_THAT(licenses->bytes, HasSubstr("MIT"));
}

TEST(PageHeaders, PolicyAllowsThisServerOnly) {
  std::map<std::string_view, std::string_view> headers;
  for (const PageHeader& header : page_headers()) headers[header.name] = header.value;
  EXPECT_EQ(headers["Content-Security-Policy"],
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
            "trusted-types svelte-trusted-html");
  EXPECT_EQ(headers["Referrer-Policy"], "no-referrer");
  EXPECT_EQ(headers["X-Frame-Options"], "DENY");
  EXPECT_EQ(headers["X-Content-Type-Options"], "nosniff");
  EXPECT_EQ(headers["Cross-Origin-Opener-Policy"], "same-origin");
  EXPECT_EQ(headers["Cross-Origin-Resource-Policy"], "same-origin");
}

}  // namespace
}  // namespace hadal::web
