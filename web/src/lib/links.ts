const kSchemes = ['http:', 'https:', 'mailto:'];

/** A link that may be shown, and whom it leads to; null: not one. Only absolute addresses: a relative one would be a
 * request to this server in the user's name. */
export function safeTarget(href: string): { href: string; host: string } | null {
  // A browser drops line ends and tabs inside an address: `java\nscript:` would be a scheme to it.
  if (/[\u0000-\u001f\u007f]/.test(href)) return null;
  let url: URL;
  try {
    url = new URL(href);
  } catch {
    return null;
  }
  if (!kSchemes.includes(url.protocol)) return null;
  // `https://bank.example@other.example/` is there to mislead.
  if (url.username !== '' || url.password !== '') return null;
  return { href: url.href, host: url.protocol === 'mailto:' ? url.pathname : url.host };
}
