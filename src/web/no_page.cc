#include "web/page_assets.h"

namespace hadal::web {

std::span<const PageAsset> page_assets() { return {}; }

std::span<const PageHeader> page_headers() { return {}; }

}  // namespace hadal::web
