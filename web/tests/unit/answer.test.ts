import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AnswerBuilder, kNoNumbers, type Numbers } from '../../src/lib/answer.ts';
import { describeNumbers, formatDuration, tokensPerSecond } from '../../src/lib/numbers.ts';

const reasoning = (text: string) => ({ kind: 'text', reasoning: text, content: '' }) as const;
const content = (text: string) => ({ kind: 'text', reasoning: '', content: text }) as const;
const usage = {
  kind: 'usage',
  usage: { promptTokens: 7, cachedTokens: 0, completionTokens: 5, reasoningTokens: 2 },
} as const;
const kEnded = { stopped: false, error: null };

test('an answer with reasoning, its figures and its times', () => {
  const builder = new AnswerBuilder(1000);
  builder.apply({ kind: 'progress', processed: 3, total: 7 }, 1100);
  assert.deepEqual(builder.progress, { processed: 3, total: 7 });
  builder.apply(reasoning('let me '), 1250);
  assert.equal(builder.progress, null);
  assert.equal(builder.thinkingSince, 1250);
  builder.apply(reasoning('see'), 1400);
  builder.apply(content('Hello'), 1650);
  assert.equal(builder.thinkingSince, null);
  builder.apply(content(' there'), 2250);
  builder.apply({ kind: 'finish', reason: 'stop' }, 2300);
  builder.apply(usage, 2300);
  builder.apply({ kind: 'done' }, 2301);
  assert.deepEqual(builder.end(kEnded, 2400), {
    content: 'Hello there',
    reasoning: 'let me see',
    outcome: 'complete',
    finish: 'stop',
    error: null,
    numbers: {
      promptTokens: 7,
      cachedTokens: 0,
      completionTokens: 5,
      reasoningTokens: 2,
      firstTokenMs: 250,
      reasoningMs: 400,
      writingMs: 1000,
    },
  });
});

test('a stopped answer keeps what had come, and has no figures of the server', () => {
  const builder = new AnswerBuilder(0);
  builder.apply(reasoning('hm'), 10);
  const answer = builder.end({ stopped: true, error: null }, 60);
  assert.equal(answer.outcome, 'stopped');
  assert.equal(answer.reasoning, 'hm');
  assert.deepEqual(answer.numbers, { ...kNoNumbers, firstTokenMs: 10, reasoningMs: 50, writingMs: 0 });
});

test('a stream without its end is a failure that keeps the text', () => {
  const builder = new AnswerBuilder(0);
  builder.apply(content('half'), 10);
  builder.apply({ kind: 'finish', reason: 'stop' }, 12);
  const answer = builder.end(kEnded, 60);
  assert.equal(answer.outcome, 'failed');
  assert.equal(answer.content, 'half');
  assert.equal(answer.error, 'The connection ended before the answer was complete.');
});

test('an error in the stream, and one of the connection, which says more', () => {
  const builder = new AnswerBuilder(0);
  builder.apply({ kind: 'error', message: 'no memory' }, 5);
  assert.equal(builder.end(kEnded, 6).error, 'no memory');
  assert.equal(builder.end({ stopped: false, error: 'it broke' }, 6).error, 'it broke');
  assert.equal(builder.end({ stopped: false, error: 'it broke' }, 6).outcome, 'failed');
});

test('speed counts the tokens after the first', () => {
  const numbers: Numbers = { ...kNoNumbers, completionTokens: 101, writingMs: 2000 };
  assert.equal(tokensPerSecond(numbers), 50);
  assert.equal(tokensPerSecond({ ...numbers, completionTokens: 1 }), null);
  assert.equal(tokensPerSecond({ ...numbers, completionTokens: null }), null);
  assert.equal(tokensPerSecond({ ...numbers, writingMs: 0 }), null);
});

test('figures below an answer', () => {
  const numbers: Numbers = {
    promptTokens: 12345,
    cachedTokens: 256,
    completionTokens: 1001,
    reasoningTokens: 40,
    firstTokenMs: 420,
    reasoningMs: 500,
    writingMs: 20000,
  };
  assert.deepEqual(describeNumbers(numbers), [
    '1,001 tokens (40 reasoning)',
    '12,345 prompt tokens (256 cached)',
    'first token 0.42 s',
    '50.0 tokens/s',
  ]);
  assert.deepEqual(describeNumbers(kNoNumbers), []);
  assert.deepEqual(describeNumbers({ ...kNoNumbers, completionTokens: 3, reasoningTokens: 0 }), ['3 tokens']);
});

test('durations', () => {
  const expected: [number, string][] = [
    [0, '0.00 s'],
    [850, '0.85 s'],
    [9994, '9.99 s'],
    [9996, '10.0 s'],
    [12345, '12.3 s'],
    [99949, '99.9 s'],
    [150000, '2 min 30 s'],
  ];
  for (const [milliseconds, text] of expected) assert.equal(formatDuration(milliseconds), text);
});
