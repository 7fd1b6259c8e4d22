import assert from 'node:assert/strict';

/** Checks what holds for the usage of every answer, and gives it back. */
export function checkedUsage(usage) {
  assert.ok(usage, 'an answer without usage');
  const hits = usage.prompt_cache_hit_tokens;
  assert.equal(usage.prompt_tokens, hits + usage.prompt_cache_miss_tokens);
  assert.equal(usage.prompt_tokens_details.cached_tokens, hits);
  assert.equal(hits % 128, 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert.ok(usage.prompt_tokens > hits, 'the last token of a prompt is always computed');
  return usage;
}
