import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kNoNumbers, type AnswerMessage } from '../../src/lib/answer.ts';
import { parseConversation, serializeConversation, wireMessages, type Message } from '../../src/lib/conversation.ts';
import { chatRequest, fieldProblem, kDefaultSettings, parseSettings } from '../../src/lib/settings.ts';

const answer = (fields: Partial<AnswerMessage>): AnswerMessage => ({
  role: 'assistant',
  id: 1,
  model: 'hadal-nano',
  content: 'Hello',
  reasoning: '',
  outcome: 'complete',
  finish: 'stop',
  error: null,
  numbers: kNoNumbers,
  ...fields,
});

test('messages of a request', () => {
  const messages: Message[] = [
    { role: 'user', id: 0, content: 'Hi' },
    answer({ reasoning: 'greet' }),
    { role: 'user', id: 2, content: 'again' },
    answer({ id: 3, content: '', outcome: 'failed', error: 'it broke' }),
  ];
  assert.deepEqual(wireMessages(messages, '  '), [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Hello', reasoning_content: 'greet' },
    { role: 'user', content: 'again' },
  ]);
  assert.deepEqual(wireMessages([], 'Be brief.'), [{ role: 'system', content: 'Be brief.' }]);
});

test('a conversation survives storage', () => {
  const messages: Message[] = [
    { role: 'user', id: 0, content: 'Grüße 🙂\n<b>' },
    answer({
      reasoning: 'r',
      numbers: { ...kNoNumbers, promptTokens: 4, firstTokenMs: 12.5 },
      error: 'e',
      outcome: 'failed',
      finish: null,
    }),
  ];
  assert.deepEqual(parseConversation(serializeConversation(messages)), messages);
});

test('an answer that was under way when the page went away counts as stopped', () => {
  const stored = serializeConversation([answer({ outcome: 'running', finish: null })]);
  assert.deepEqual(parseConversation(stored), [answer({ id: 0, outcome: 'stopped', finish: null })]);
});

test('damaged storage loses the damaged part only', () => {
  for (const stored of [null, '', '{', 'null', '7', '[]', '{"version":2,"messages":[]}', '{"version":1,"messages":{}}']) {
    assert.deepEqual(parseConversation(stored), [], String(stored));
  }
  const messages = [null, 3, {}, { role: 'user' }, { role: 'admin', content: 'x' }, { role: 'user', content: 'kept' }];
  assert.deepEqual(parseConversation(JSON.stringify({ version: 1, messages })), [{ role: 'user', id: 0, content: 'kept' }]);
  const odd = { role: 'assistant', content: 'a', outcome: 'exploded', numbers: { promptTokens: 'x', writingMs: 3 }, error: 1 };
  assert.deepEqual(parseConversation(JSON.stringify({ version: 1, messages: [odd] })), [
    answer({ id: 0, model: '', content: 'a', finish: null, numbers: { ...kNoNumbers, writingMs: 3 } }),
  ]);
});

test('the request says what the panel says, and leaves the rest to the server', () => {
  const common = { stream: true, stream_options: { include_usage: true }, return_progress: true };
  assert.deepEqual(chatRequest(kDefaultSettings, []), { messages: [], ...common });
  const settings = {
    ...kDefaultSettings,
    model: 'hadal-nano',
    temperature: ' 0.7 ',
    topP: '.9',
    maxTokens: '64',
    seed: '-5',
  };
  assert.deepEqual(chatRequest({ ...settings, thinking: 'max' }, []), {
    messages: [],
    ...common,
    model: 'hadal-nano',
    thinking: { type: 'enabled' },
    reasoning_effort: 'max',
    temperature: 0.7,
    top_p: 0.9,
    max_tokens: 64,
    seed: -5,
  });
  assert.deepEqual(chatRequest({ ...kDefaultSettings, thinking: 'off' }, []).thinking, { type: 'disabled' });
});

test('fields of the panel', () => {
  const accepted: [Parameters<typeof fieldProblem>[0], string[]][] = [
    ['temperature', ['', ' ', '0', '2', '1.5', '.5', '1.']],
    ['topP', ['1', '0.01']],
    ['maxTokens', ['1', '393216']],
    ['seed', ['0', '-1', '9007199254740991']],
  ];
  const refused: [Parameters<typeof fieldProblem>[0], string[]][] = [
    ['temperature', ['-0.1', '2.01', 'hot', '1e0', 'NaN', '0x1', '1,5']],
    ['topP', ['0', '1.1']],
    ['maxTokens', ['0', '-3', '1.5', '9007199254740993']],
    ['seed', ['1.5', '9007199254740992']],
  ];
  for (const [field, texts] of accepted) {
    for (const text of texts) assert.equal(fieldProblem(field, text), null, `${field} ${text}`);
  }
  for (const [field, texts] of refused) {
    for (const text of texts) assert.match(fieldProblem(field, text) ?? '', /number/, `${field} ${text}`);
  }
});

test('stored settings of any shape', () => {
  const settings = { ...kDefaultSettings, seed: '7', thinking: 'low' as const };
  assert.deepEqual(parseSettings(JSON.stringify(settings)), settings);
  for (const stored of [null, '', '{', '[]', '"x"', '{"seed":7,"thinking":"deep","model":null}']) {
    assert.deepEqual(parseSettings(stored), kDefaultSettings, String(stored));
  }
});
