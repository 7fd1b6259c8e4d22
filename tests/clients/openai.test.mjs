// OpenAI's own client against the server. The checks' numbers are those of the list of checks of the API.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import OpenAI from 'openai';

import { clientOf, kModel, scriptFile, startServer, temporaryFolder } from './start_server.mjs';
import { checkedUsage } from './usage.mjs';

const kSmall = ['--thinking', 'on', '--context', '2048', '--parallel', '4', '--threads', '1'];
const kTokens = 12;
const kNoThinking = { thinking: { type: 'disabled' } };
const kStory = [{ role: 'user', content: 'Tell me a story about a dog.' }];
const kWeatherTool = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather of a city',
    parameters: { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } } },
  },
};
const kCallMarkup =
  '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n' +
  '<｜DSML｜parameter name="city" string="true">Oslo "N"</｜DSML｜parameter>\n' +
  '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n' +
  '</｜DSML｜invoke>\n</｜DSML｜tool_calls>';

const story = (more = {}) => ({ model: kModel, messages: kStory, max_tokens: kTokens, seed: 7, ...kNoThinking, ...more });

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const joined = (chunks, field) => chunks.map((chunk) => chunk.choices[0]?.delta[field] ?? '').join('');

test('chats and completions of the model', async (t) => {
  const server = await startServer(t, kSmall);
  const client = clientOf(server);
  const plain = await client.chat.completions.create(story({ logprobs: true, top_logprobs: 5 }));

  await t.test('a chat', () => {
    assert.equal(plain.object, 'chat.completion');
    assert.match(plain.id, /^chatcmpl-/);
    assert.equal(plain.model, kModel);
    assert.equal(plain.choices.length, 1);
    const [choice] = plain.choices;
    assert.equal(choice.message.role, 'assistant');
    assert.ok(choice.message.content.length > 0);
    assert.ok(!('reasoning_content' in choice.message));
    assert.equal(choice.finish_reason, 'length');
    const usage = checkedUsage(plain.usage);
    assert.equal(usage.completion_tokens, kTokens);
    assert.ok(!('completion_tokens_details' in usage));
  });

  await t.test('logprobs (check 78)', () => {
    const { content: entries } = plain.choices[0].logprobs;
    assert.equal(entries.length, kTokens);
    const bytes = entries.flatMap((entry) => entry.bytes);
    assert.equal(Buffer.from(bytes).toString(), plain.choices[0].message.content);
    for (const entry of entries) {
      assert.ok(entry.logprob <= 0 && Number.isFinite(entry.logprob));
      assert.equal(entry.top_logprobs.length, 5);
      const values = entry.top_logprobs.map((top) => top.logprob);
      assert.deepEqual(values, [...values].sort((a, b) => b - a));
      assert.ok(values[0] <= 0 && values[0] >= entry.logprob);
      assert.ok(values.reduce((sum, value) => sum + Math.exp(value), 0) <= 1 + 1e-6);
    }
  });

  await t.test('a stream says what the plain answer says (checks 92, 93, 98)', async () => {
    const chunks = await collect(
      await client.chat.completions.create(
        story({ logprobs: true, top_logprobs: 5, stream: true, stream_options: { include_usage: true } }),
      ),
    );
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    for (const key of ['id', 'created', 'model']) assert.equal(new Set(chunks.map((chunk) => chunk[key])).size, 1);
    assert.equal(joined(chunks, 'content'), plain.choices[0].message.content);
    assert.deepEqual(
      chunks.flatMap((chunk) => chunk.choices[0]?.logprobs?.content ?? []),
      plain.choices[0].logprobs.content,
    );
    const reasons = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.finish_reason)).filter(Boolean);
    assert.deepEqual(reasons, ['length']);
    assert.deepEqual(chunks.at(-1).choices, []);
    const { prompt_tokens: prompt, completion_tokens: completion } = checkedUsage(chunks.at(-1).usage);
    assert.deepEqual([prompt, completion], [plain.usage.prompt_tokens, kTokens]);
    assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
  });

  await t.test('finalChatCompletion() of a stream (check 109)', async () => {
    const final = await client.chat.completions.stream(story()).finalChatCompletion();
    assert.equal(final.choices[0].message.content, plain.choices[0].message.content);
    assert.equal(final.choices[0].finish_reason, 'length');
    assert.equal(checkedUsage(final.usage).completion_tokens, kTokens);
  });

  await t.test('a seed decides (checks 65, 66)', async () => {
    const answer = (more) => client.chat.completions.create(story(more)).withResponse();
    const text = ({ data }) => (checkedUsage(data.usage), data.choices[0].message.content);
    assert.equal(text(await answer({})), plain.choices[0].message.content);
    assert.notEqual(text(await answer({ seed: 8 })), plain.choices[0].message.content);
    const drawn = await answer({ seed: undefined });
    // Seeds are whole numbers of 63 bits, which only a string of digits carries through JavaScript.
    const digits = drawn.response.headers.get('x-hadal-seed');
    const body = JSON.stringify(story({ seed: 0 })).replace('"seed":0', `"seed":${digits}`);
    const again = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    assert.equal((await again.json()).choices[0].message.content, text(drawn));
  });

  await t.test('three choices (checks 74, 100)', async () => {
    const three = await client.chat.completions.create(story({ n: 3 }));
    assert.deepEqual(three.choices.map((choice) => choice.index), [0, 1, 2]);
    const texts = three.choices.map((choice) => choice.message.content);
    assert.equal(texts[0], plain.choices[0].message.content);
    assert.equal(new Set(texts).size, 3);
    const usage = checkedUsage(three.usage);
    assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [plain.usage.prompt_tokens, 3 * kTokens]);

    const chunks = await collect(await client.chat.completions.create(story({ n: 3, stream: true })));
    const streamed = ['', '', ''];
    const reasons = [[], [], []];
    for (const { choices } of chunks) {
      for (const { index, delta, finish_reason: reason } of choices) {
        streamed[index] += delta.content ?? '';
        if (reason !== null) reasons[index].push(reason);
      }
    }
    assert.deepEqual(streamed, texts);
    assert.deepEqual(reasons, [['length'], ['length'], ['length']]);
  });

  await t.test('reasoning of the model itself (check 54)', async () => {
    const thought = await client.chat.completions.create(story({ thinking: undefined, thinking_token_budget: 4 }));
    assert.ok(thought.choices[0].message.reasoning_content.length > 0);
    assert.equal(checkedUsage(thought.usage).completion_tokens_details.reasoning_tokens, 5);
  });

  await t.test('JSON mode of the model itself begins an object and counts its tokens', async () => {
    const messages = [{ role: 'user', content: 'Write a small JSON object.' }];
    const answer = await client.chat.completions.create(story({ messages, response_format: { type: 'json_object' } }));
    assert.match(answer.choices[0].message.content, /^\s*\{/);
    if (answer.choices[0].finish_reason === 'stop') JSON.parse(answer.choices[0].message.content);
    else assert.equal(checkedUsage(answer.usage).completion_tokens, kTokens);
    // The prompt must say the word (check 135).
    const silent = story({ response_format: { type: 'json_object' } });
    await assert.rejects(client.chat.completions.create(silent), OpenAI.BadRequestError);
  });

  await t.test('a forced call has a known name (check 111)', async () => {
    const forced = { tools: [kWeatherTool], tool_choice: 'required', max_tokens: 120, parallel_tool_calls: false };
    const answer = await client.chat.completions.create(story(forced));
    const [choice] = answer.choices;
    assert.equal(choice.message.tool_calls.length, 1);
    const [call] = choice.message.tool_calls;
    assert.equal(call.function.name, 'get_weather');
    if (choice.finish_reason === 'tool_calls') assert.equal(typeof JSON.parse(call.function.arguments), 'object');
    else assert.deepEqual([choice.finish_reason, checkedUsage(answer.usage).completion_tokens], ['length', 120]);
  });

  await t.test('completions, suffix, echo (checks 149, 150)', async () => {
    const base = { model: kModel, prompt: 'Once upon a time', max_tokens: 12, temperature: 0 };
    const plainText = await client.completions.create(base);
    assert.equal(plainText.object, 'text_completion');
    assert.match(plainText.id, /^cmpl-/);
    assert.ok(plainText.choices[0].text.length > 0);
    assert.equal(checkedUsage(plainText.usage).completion_tokens, 12);
    const chunks = await collect(await client.completions.create({ ...base, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.text ?? '').join(''), plainText.choices[0].text);

    // Nano has no tokens for filling in the middle.
    await assert.rejects(client.completions.create({ ...base, suffix: ' and they lived happily.' }), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.match(error.message, /suffix: the model hadal-nano has no tokens for filling in the middle/);
      return true;
    });
    await assert.rejects(client.completions.create({ ...base, suffix: 'x', echo: true }), OpenAI.BadRequestError);

    const echoed = await client.completions.create({ ...base, prompt: 'Ein schöner Tag', max_tokens: 0, echo: true });
    assert.equal(echoed.choices[0].text, 'Ein schöner Tag');
    assert.equal(checkedUsage(echoed.usage).completion_tokens, 0);
    const longer = await client.completions.create({ ...base, echo: true, logprobs: 1 });
    assert.equal(longer.choices[0].text, base.prompt + plainText.choices[0].text);
    assert.equal(longer.choices[0].logprobs.tokens.slice(-12).join(''), plainText.choices[0].text);
  });

  await t.test('a list of prompts, two answers each (check 152)', async () => {
    const answer = await client.completions.create({ model: kModel, prompt: ['One', 'Two'], n: 2, max_tokens: 3, seed: 1 });
    assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2, 3]);
    assert.equal(checkedUsage(answer.usage).completion_tokens, 12);
  });

  await t.test('models (check 41)', async () => {
    const ids = [];
    for await (const model of client.models.list()) {
      assert.equal(model.object, 'model');
      assert.equal(typeof model.created, 'number');
      ids.push(model.id);
    }
    assert.deepEqual(ids, [kModel]);
    assert.equal((await client.models.retrieve(kModel)).id, kModel);
    await assert.rejects(client.models.retrieve('gpt-4'), OpenAI.NotFoundError);
  });

  await t.test('errors have their classes (checks 44, 67, 62)', async () => {
    await assert.rejects(client.chat.completions.create(story({ model: 'gpt-4' })), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.deepEqual([error.status, error.code, error.param], [404, 'model_not_found', 'model']);
      return true;
    });
    await assert.rejects(client.chat.completions.create(story({ temperature: 2.1 })), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.deepEqual([error.param, error.type], ['temperature', 'invalid_request_error']);
      return true;
    });
    const long = [{ role: 'user', content: 'word '.repeat(4000) }];
    await assert.rejects(client.chat.completions.create(story({ messages: long })), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.equal(error.code, 'context_length_exceeded');
      return true;
    });
    await assert.rejects(client.chat.completions.create(story({ messages: [] })), OpenAI.BadRequestError);
  });
});

test('scripted reasoning comes in its own field (checks 92, 94)', async (t) => {
  const client = clientOf(await startServer(t, [...kSmall, '--script', scriptFile(t, ['Let me see.</think>Good day.'])]));
  const request = { model: kModel, messages: kStory };
  const plain = await client.chat.completions.create(request);
  assert.equal(plain.choices[0].message.reasoning_content, 'Let me see.');
  assert.equal(plain.choices[0].message.content, 'Good day.');
  assert.equal(plain.choices[0].finish_reason, 'stop');
  const { reasoning_tokens: reasoning } = checkedUsage(plain.usage).completion_tokens_details;
  assert.ok(reasoning >= 2 && reasoning < plain.usage.completion_tokens);

  const chunks = await collect(await client.chat.completions.create({ ...request, stream: true }));
  assert.deepEqual(chunks[0].choices[0].delta, { role: 'assistant', content: null, reasoning_content: '' });
  assert.equal(joined(chunks, 'reasoning_content'), 'Let me see.');
  assert.equal(joined(chunks, 'content'), 'Good day.');
  const lastThought = chunks.findLastIndex((chunk) => chunk.choices[0].delta.reasoning_content);
  assert.ok(lastThought < chunks.findIndex((chunk) => chunk.choices[0].delta.content));
  assert.deepEqual(checkedUsage(chunks.at(-1).usage).completion_tokens_details, { reasoning_tokens: reasoning });
});

test('tools make the round trip (checks 109, 118, 119, 122)', async (t) => {
  const answers = [`I ask.</think>One moment.${kCallMarkup}`, 'I know.</think>It rains in Oslo.'];
  const script = scriptFile(t, [answers[0], answers[0], answers[0], answers[1]]);
  const client = clientOf(await startServer(t, [...kSmall, '--script', script]));
  const messages = [{ role: 'user', content: 'Is it raining in Oslo?' }];
  const request = { model: kModel, messages, tools: [kWeatherTool] };
  const plain = await client.chat.completions.create(request);
  const { message } = plain.choices[0];
  assert.equal(plain.choices[0].finish_reason, 'tool_calls');
  assert.equal(message.content, 'One moment.');
  assert.equal(message.reasoning_content, 'I ask.');
  assert.equal(message.tool_calls.length, 1);
  const [call] = message.tool_calls;
  assert.match(call.id, /^call_[0-9A-Za-z]{24}$/);
  assert.equal(call.type, 'function');
  assert.equal(call.function.name, 'get_weather');
  assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Oslo "N"', days: 3 });

  const final = await client.chat.completions.stream(request).finalChatCompletion();
  assert.equal(final.choices[0].finish_reason, 'tool_calls');
  assert.equal(final.choices[0].message.content, 'One moment.');
  assert.deepEqual(final.choices[0].message.tool_calls[0].function.arguments, call.function.arguments);

  const deltas = (await collect(await client.chat.completions.create({ ...request, stream: true })))
    .flatMap((chunk) => chunk.choices)
    .flatMap((choice) => choice.delta.tool_calls ?? []);
  assert.deepEqual(
    { type: deltas[0].type, name: deltas[0].function.name },
    { type: 'function', name: 'get_weather' },
  );
  for (const delta of deltas.slice(1)) {
    assert.deepEqual(Object.keys(delta).sort(), ['function', 'index']);
    assert.deepEqual(Object.keys(delta.function), ['arguments']);
  }
  assert.equal(deltas.map((delta) => delta.function.arguments).join(''), call.function.arguments);

  const result = { role: 'tool', tool_call_id: call.id, content: 'rain, 7 degrees' };
  const second = await client.chat.completions.create({ ...request, messages: [...messages, message, result] });
  assert.equal(second.choices[0].message.content, 'It rains in Oslo.');
  assert.equal(second.choices[0].finish_reason, 'stop');
  // The turn before was not computed again: all of it is in the cache but less than a page.
  const before = plain.usage.prompt_tokens + plain.usage.completion_tokens;
  assert.ok(checkedUsage(second.usage).prompt_cache_hit_tokens >= Math.floor((before - 1) / 128) * 128);

  const stray = { ...result, tool_call_id: 'call_unknown' };
  await assert.rejects(
    client.chat.completions.create({ ...request, messages: [...messages, message, stray] }),
    OpenAI.BadRequestError,
  );
});

test('scripted stop strings and JSON (checks 70, 71, 72, 136)', async (t) => {
  const object = '{"city": "Oslo", "days": [1, 2]}';
  const script = scriptFile(t, ['Stop here? No END, no.', 'END of thought</think>Before END after', object]);
  const client = clientOf(await startServer(t, [...kSmall, '--script', script]));
  const stopped = await client.chat.completions.create(story({ stop: ['END', 'unused'] }));
  assert.equal(stopped.choices[0].message.content, 'Stop here? No ');
  assert.equal(stopped.choices[0].finish_reason, 'stop');
  checkedUsage(stopped.usage);
  const thinking = { model: kModel, messages: kStory, stop: 'END', stream: true };
  const chunks = await collect(await client.chat.completions.create(thinking));
  assert.equal(joined(chunks, 'reasoning_content'), 'END of thought');
  assert.equal(joined(chunks, 'content'), 'Before ');
  const json = await client.chat.completions.create(
    story({ messages: [{ role: 'user', content: 'As json, please.' }], max_tokens: 100, response_format: { type: 'json_object' } }),
  );
  assert.deepEqual(JSON.parse(json.choices[0].message.content), { city: 'Oslo', days: [1, 2] });
  assert.equal(json.choices[0].finish_reason, 'stop');
});

test('an answer that is left ends at once (checks 106, 107)', async (t) => {
  // One answer at a time, and far too slow for one that goes on: what comes after it shows that it has ended.
  const args = ['--context', '1024', '--parallel', '1', '--threads', '1', '--draft', 'off', '--step-delay', '50', '--drain', '60'];
  const server = await startServer(t, args);
  const client = clientOf(server);
  const endless = { max_tokens: 900, ignore_eos: true };
  const stream = await client.chat.completions.create(story({ ...endless, stream: true }));
  let seen = 0;
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content && ++seen === 5) break;
  }
  assert.equal(seen, 5);
  const abort = new AbortController();
  const waiting = client.chat.completions.create(story(endless), { signal: abort.signal });
  setTimeout(() => abort.abort(), 400);
  await assert.rejects(waiting, OpenAI.APIUserAbortError);
  const next = await client.chat.completions.create(story({ max_tokens: 2 }), { timeout: 30_000 });
  assert.equal(checkedUsage(next.usage).completion_tokens, 2);
  const began = Date.now();
  assert.equal(await server.stop('SIGTERM'), 0);
  assert.ok(Date.now() - began < 30_000, 'something was still running');
});

test('keys (checks 25, 26, 27)', async (t) => {
  const keys = join(temporaryFolder(t), 'keys.json');
  const hash = createHash('sha256').update('sk-right').digest('hex');
  writeFileSync(keys, JSON.stringify({ keys: [{ id: 'k1', name: 'me', hash }] }), { mode: 0o600 });
  const server = await startServer(t, [...kSmall, '--keys', keys]);
  let requests = 0;
  const counted = (...request) => (++requests, fetch(...request));
  const wrong = clientOf(server, { apiKey: 'sk-wrong-1234', maxRetries: 2, fetch: counted });
  await assert.rejects(wrong.chat.completions.create(story()), (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.deepEqual([error.status, error.code], [401, 'invalid_api_key']);
    assert.ok(!error.message.includes('sk-wrong'));
    return true;
  });
  assert.equal(requests, 1);
  await assert.rejects(wrong.models.list(), OpenAI.AuthenticationError);
  const right = clientOf(server, { apiKey: 'sk-right' });
  assert.equal((await right.chat.completions.create(story({ max_tokens: 2 }))).usage.completion_tokens, 2);
});
