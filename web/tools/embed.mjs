// Writes the built page as C++: the definitions of src/web/page_assets.h.
// Usage: node embed.mjs DIST HEADERS.json OUTPUT.cc
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { gzipSync } from 'node:zlib';

const kTypes = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};
/** Bytes of a line of a literal. */
const kLineBytes = 64;

const [dist, headersFile, output] = process.argv.slice(2);

function filesBelow(folder, prefix = '') {
  return readdirSync(join(folder, prefix), { withFileTypes: true }).flatMap((entry) => {
    const name = `${prefix}/${entry.name}`;
    return entry.isDirectory() ? filesBelow(folder, name) : [name];
  });
}

/** A string literal with these bytes: what is no plain ASCII is written in octal, always with three digits. */
function literal(bytes) {
  const lines = [];
  for (let begin = 0; begin < bytes.length; begin += kLineBytes) {
    const line = Array.from(bytes.subarray(begin, begin + kLineBytes), (byte) => {
      const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c && byte !== 0x3f;
      return plain ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, '0')}`;
    });
    lines.push(`"${line.join('')}"`);
  }
  return lines.length === 0 ? '""' : lines.join('\n    ');
}

const view = (bytes) => `std::string_view(${literal(bytes)}, ${bytes.length})`;
const text = (value) => view(Buffer.from(value));

function asset(name) {
  const type = kTypes[extname(name)];
  if (type === undefined) throw new Error(`${name}: tools/embed.mjs does not know the content type of ${extname(name)}`);
  const bytes = readFileSync(join(dist, name));
  const compressed = gzipSync(bytes, { level: 9 });
  const gzip = compressed.length < bytes.length ? compressed : Buffer.alloc(0);
  // Weak: the same for the plain and the compressed bytes.
  const etag = `W/"${createHash('sha256').update(bytes).digest('hex').slice(0, 32)}"`;
  // Names below assets/ change with their content.
  const cache = name.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache';
  const path = name === '/index.html' ? '/' : name;
  return `    {.path = ${text(path)},
     .content_type = ${text(type)},
     .cache_control = ${text(cache)},
     .etag = ${text(etag)},
     .bytes = ${view(bytes)},
     .gzip = ${view(gzip)}},`;
}

const headers = Object.entries(JSON.parse(readFileSync(headersFile, 'utf8')));

writeFileSync(
  output,
  `// Made by web/tools/embed.mjs; changes here are lost.
#include "web/page_assets.h"

namespace hadal::web {
namespace {

constexpr PageAsset kAssets[] = {
${filesBelow(dist).sort().map(asset).join('\n')}
};

constexpr PageHeader kHeaders[] = {
${headers.map(([name, value]) => `    {.name = ${text(name)}, .value = ${text(value)}},`).join('\n')}
};

}  // namespace

std::span<const PageAsset> page_assets() { return kAssets; }

std::span<const PageHeader> page_headers() { return kHeaders; }

}  // namespace hadal::web
`,
);
