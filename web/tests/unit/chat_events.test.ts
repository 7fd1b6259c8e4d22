import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusalSentence } from '../../src/lib/api.ts';
import { errorMessage, readChatEvent } from '../../src/lib/chat_events.ts';

const chunk = (choice: object, more: object = {}): string =>
  JSON.stringify({ id: 'x', object: 'chat.completion.chunk', choices: [{ index: 0, ...choice }], ...more });

test('text of the reasoning and of the answer', () => {
  const first = { delta: { role: 'assistant', content: null, reasoning_content: '' }, finish_reason: null };
  assert.deepEqual(readChatEvent(chunk(first)), []);
  assert.deepEqual(readChatEvent(chunk({ delta: { content: null, reasoning_content: '用户' }, finish_reason: null })), [
    { kind: 'text', reasoning: '用户', content: '' },
  ]);
  assert.deepEqual(readChatEvent(chunk({ delta: { content: 'Hi' } })), [{ kind: 'text', reasoning: '', content: 'Hi' }]);
});

test('other choices than the first are not shown', () => {
  assert.deepEqual(readChatEvent(JSON.stringify({ choices: [{ index: 1, delta: { content: 'no' } }] })), []);
});

test('usage on the last chunk and on a chunk of its own', () => {
  const usage = {
    prompt_tokens: 300,
    completion_tokens: 20,
    total_tokens: 320,
    prompt_tokens_details: { cached_tokens: 256 },
    completion_tokens_details: { reasoning_tokens: 5 },
    prompt_cache_hit_tokens: 256,
    prompt_cache_miss_tokens: 44,
  };
  const expected = {
    kind: 'usage',
    usage: { promptTokens: 300, cachedTokens: 256, completionTokens: 20, reasoningTokens: 5 },
  };
  assert.deepEqual(readChatEvent(chunk({ delta: { content: '' }, finish_reason: 'stop' }, { usage })), [
    { kind: 'finish', reason: 'stop' },
    expected,
  ]);
  assert.deepEqual(readChatEvent(JSON.stringify({ choices: [], usage })), [expected]);
  assert.deepEqual(readChatEvent(chunk({ delta: { content: 'a' } }, { usage: null })), [
    { kind: 'text', reasoning: '', content: 'a' },
  ]);
});

test('usage with missing or wrong figures', () => {
  assert.deepEqual(readChatEvent(JSON.stringify({ choices: [], usage: { prompt_tokens: -1, completion_tokens: '3' } })), [
    {
      kind: 'usage',
      usage: { promptTokens: null, cachedTokens: null, completionTokens: null, reasoningTokens: null },
    },
  ]);
});

test('progress of the prompt', () => {
  const progress = { prompt_progress: { total: 4096, cache: 0, processed: 1024, time_ms: 12 } };
  assert.deepEqual(readChatEvent(chunk({ delta: {} }, progress)), [{ kind: 'progress', processed: 1024, total: 4096 }]);
});

test('an error inside a stream, and the end of one', () => {
  assert.deepEqual(readChatEvent('{"error":{"message":"no memory","type":"server_error","param":null,"code":null}}'), [
    { kind: 'error', message: 'no memory' },
  ]);
  assert.deepEqual(readChatEvent('[DONE]'), [{ kind: 'done' }]);
});

test('values of any other shape mean nothing, and no JSON is an error', () => {
  for (const data of ['1', 'null', '[]', '"x"', '{}', '{"choices":{}}', '{"choices":[null,1,{"delta":7}]}']) {
    assert.deepEqual(readChatEvent(data), [], data);
  }
  assert.throws(() => readChatEvent('{"choices":'), SyntaxError);
});

test('bodies of errors', () => {
  assert.equal(errorMessage({ error: { message: 'a' } }), 'a');
  assert.equal(errorMessage({ error: 'b' }), 'b');
  for (const body of [null, 1, {}, { error: null }, { error: { message: '' } }, { error: { message: 3 } }]) {
    assert.equal(errorMessage(body), null);
  }
});

test('sentences for refused requests', () => {
  const body = '{"error":{"message":"The queue is full.","type":"server_error","param":null,"code":"server_overloaded"}}';
  assert.equal(refusalSentence(503, body, '4'), 'The queue is full. Try again in 4 s.');
  assert.equal(refusalSentence(503, body, null), 'The queue is full.');
  assert.equal(refusalSentence(502, '<html>Bad Gateway</html>', null), 'The server answered with status 502.');
  assert.equal(
    refusalSentence(401, '{"error":{"message":"no key"}}', null),
    'The API key is missing or not accepted: enter it in the settings. (no key)',
  );
});
