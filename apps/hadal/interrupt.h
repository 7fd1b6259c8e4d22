#pragma once

namespace hadal::apps {

/// From now on the first Ctrl-C only sets what interrupted() answers; the second ends the program as usual.
void catch_interrupts();
[[nodiscard]] bool interrupted();

}  // namespace hadal::apps
