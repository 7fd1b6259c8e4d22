import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kLongestEvent, SseParser } from '../../src/lib/sse.ts';

const encoder = new TextEncoder();

function parse(chunks: Uint8Array[]): string[] {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
}

const parseText = (text: string): string[] => parse([encoder.encode(text)]);

/** A stream with everything in it that the format allows, and the data of its events. */
const kStream =
  ': keep-alive\n\n' +
  'data: {"a":"Grüße 用户 🙂"}\n\n' +
  'event: ping\r\ndata: one\r\ndata: two\r\n\r\n' +
  'id: 7\rdata:no space\r\r' +
  'data\n\n' +
  'retry: 10\nother: x\n\n' +
  'data:  two spaces\n: comment inside\n\n' +
  'data: [DONE]\n\n' +
  'data: cut off';
const kEvents = ['{"a":"Grüße 用户 🙂"}', 'one\ntwo', 'no space', '', ' two spaces', '[DONE]'];

test('events, comments, fields and line ends of every kind', () => {
  assert.deepEqual(parseText(kStream), kEvents);
});

test('a stream cut at every byte', () => {
  const bytes = encoder.encode(kStream);
  for (let cut = 0; cut <= bytes.length; cut++) {
    assert.deepEqual(parse([bytes.slice(0, cut), bytes.slice(cut)]), kEvents, `cut at ${cut}`);
  }
});

test('a stream cut at every pair of bytes', () => {
  const bytes = encoder.encode('data: é\r\n\r\ndata: 🙂\r\rdata: x\n\n');
  for (let first = 0; first <= bytes.length; first++) {
    for (let second = first; second <= bytes.length; second++) {
      const chunks = [bytes.slice(0, first), bytes.slice(first, second), bytes.slice(second)];
      assert.deepEqual(parse(chunks), ['é', '🙂', 'x'], `cuts at ${first} and ${second}`);
    }
  }
});

test('a stream that comes byte by byte', () => {
  assert.deepEqual(parse([...encoder.encode(kStream)].map((byte) => Uint8Array.of(byte))), kEvents);
});

test('a mark of byte order at the beginning is no part of a field', () => {
  assert.deepEqual(parseText('\ufeffdata: x\n\n'), ['x']);
});

test('bytes that are no UTF-8 become replacement characters', () => {
  assert.deepEqual(parse([Uint8Array.of(...encoder.encode('data: a'), 0xff, ...encoder.encode('b\n\n'))]), ['a\ufffdb']);
});

test('a line feed after an event that ended with a carriage return', () => {
  assert.deepEqual(parse(['data: a\r', '\n', '\r', '\n', 'data: b\n', '\n'].map((text) => encoder.encode(text))), ['a', 'b']);
});

test('an event beyond the limit ends the reading', () => {
  const parser = new SseParser();
  const mebibyte = encoder.encode('x'.repeat(1024 * 1024));
  parser.push(encoder.encode('data: '));
  assert.throws(() => {
    for (let read = 0; read <= kLongestEvent; read += mebibyte.length) parser.push(mebibyte);
  }, RangeError);
});
