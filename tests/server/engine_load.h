#pragma once

namespace hadal::server {

/// Sends this many chats and completions over sockets to a server with a real engine, from several clients at a time:
/// streams and whole answers, many of them given up before, within, or while they wait for their turn. Expects that
/// answers that were not given up are those of a quiet server, and that afterwards nothing is left: no sequence, state
/// page, entry of the queue, request, lease or descriptor.
void expect_nothing_left_behind(int requests);

}  // namespace hadal::server
