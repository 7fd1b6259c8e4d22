// The law of serving: an answer does not depend on load, on where the beginning of its prompt came from, on restarts.
// HADAL_CLIENTS says how many clients ask at the same time.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { clientOf, kModel, startServer, temporaryFolder } from './start_server.mjs';
import { checkedUsage } from './usage.mjs';

const kClients = Number(process.env.HADAL_CLIENTS ?? 16);
const kLarge = kClients >= 64;
const kMostWords = kLarge ? 1200 : 160;
const kMostTokens = kLarge ? 32 : 10;
const kSharedWords = kLarge ? 400 : 130;
const kLong = { max_tokens: 400, ignore_eos: true };
const kWords = 'a the dog boat sea king went saw said old green to and of house day rain bird little sang'.split(' ');

/** Numbers in [0, 1) that are the same in every run (mulberry32). */
function numbersOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

const text = (random, words) => Array.from({ length: words }, () => kWords[Math.floor(random() * kWords.length)]).join(' ');

/** What the clients ask: lengths, temperatures, thinking, streams and shared beginnings are mixed. */
function makeRequests() {
  const random = numbersOf(4);
  const shared = [text(random, kSharedWords), text(random, kSharedWords)];
  return Array.from({ length: kClients }, (_, i) => {
    const shares = i % 3 === 0;
    const words = Math.ceil(10 + (shares ? 0.1 : 1) * random() ** 2 * kMostWords);
    const messages = [{ role: 'user', content: `${text(random, words)}. Go on with the story.` }];
    if (shares) messages.unshift({ role: 'system', content: shared[(i / 3) % 2] });
    return {
      shares,
      streams: i % 2 === 1,
      leaves: i % 8 === 5,
      body: {
        model: kModel,
        messages,
        seed: Math.floor(random() * 1e9),
        temperature: [0, 0.7, 1, 1.3][i % 4],
        top_p: i % 5 === 0 ? 0.9 : 1,
        max_tokens: Math.ceil(kMostTokens * (0.5 + random() / 2)),
        thinking: { type: i % 4 === 3 ? 'enabled' : 'disabled' },
        logprobs: true,
        top_logprobs: 2,
      },
    };
  });
}

/** What must not depend on anything but the request. */
function essence(choice, usage) {
  return {
    content: choice.message.content,
    reasoning: choice.message.reasoning_content ?? '',
    logprobs: choice.logprobs,
    finish: choice.finish_reason,
    tokens: usage.completion_tokens,
  };
}

async function askWhole(client, body) {
  const answer = await client.chat.completions.create(body);
  checkedUsage(answer.usage);
  return { answer: essence(answer.choices[0], answer.usage), cached: answer.usage.prompt_cache_hit_tokens };
}

async function askStreamed(client, body) {
  const stream = await client.chat.completions.create({ ...body, stream: true });
  const message = { content: '', reasoning_content: '' };
  const logprobs = {};
  let [usage, finish] = [null, null];
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    const [choice] = chunk.choices;
    finish = choice.finish_reason ?? finish;
    message.content += choice.delta.content ?? '';
    message.reasoning_content += choice.delta.reasoning_content ?? '';
    for (const [key, entries] of Object.entries(choice.logprobs ?? {})) {
      if (entries) (logprobs[key] ??= []).push(...entries);
    }
  }
  checkedUsage(usage);
  return {
    answer: essence({ message, logprobs, finish_reason: finish }, usage),
    cached: usage.prompt_cache_hit_tokens,
  };
}

/** Lists that are empty are as good as absent. */
function tidy(answer) {
  const entries = Object.entries(answer.logprobs ?? {}).filter(([, list]) => list && list.length > 0);
  return { ...answer, logprobs: Object.fromEntries(entries) };
}

const figures = { compared: 0, left: 0, putAway: 0, drafted: 0 };

/** Notes what the server's figures say of the ways that its answers took. */
async function noteFigures(server) {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const value = (name) => Number(new RegExp(`^hadal:${name}\\{[^}]*\\} (\\S+)$`, 'm').exec(text)[1]);
  figures.putAway += value('num_preemptions_total');
  figures.drafted += value('spec_decode_num_draft_tokens_total');
}

/** Reads two pieces of a long answer, then leaves. */
async function leave(client, body) {
  const stream = await client.chat.completions.create({ ...body, ...kLong, stream: true });
  let pieces = 0;
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content || chunk.choices[0].delta.reasoning_content) ++pieces;
    if (pieces === 2) break;
  }
  ++figures.left;
}

/** All clients at the same time; every answer must be the expected one. Gives the requests that hit the cache. */
async function load(server, requests, expected) {
  const client = clientOf(server, { timeout: 3_600_000 });
  const cached = await Promise.all(
    requests.map(async ({ streams, leaves, body }, i) => {
      if (leaves) return leave(client, body).then(() => 0);
      const got = await (streams ? askStreamed : askWhole)(client, body);
      assert.deepEqual(tidy(got.answer), expected[i], `client ${i}`);
      ++figures.compared;
      return got.cached;
    }),
  );
  return cached.map((tokens, i) => (tokens > 0 ? i : -1)).filter((i) => i >= 0);
}

test(`one answer, ${kClients} clients`, async (t) => {
  const requests = makeRequests();
  const expected = [];
  {
    const server = await startServer(t, ['--context', '2048', '--parallel', '1', '--threads', '1']);
    const client = clientOf(server, { timeout: 3_600_000 });
    let [least, most] = [Infinity, 0];
    for (const { leaves, body } of requests) {
      if (leaves) {
        expected.push(null);
        continue;
      }
      const answer = await client.chat.completions.create({ ...body, cache_prompt: false });
      assert.equal(checkedUsage(answer.usage).prompt_cache_hit_tokens, 0);
      least = Math.min(least, answer.usage.prompt_tokens);
      most = Math.max(most, answer.usage.prompt_tokens);
      expected.push(tidy(essence(answer.choices[0], answer.usage)));
    }
    t.diagnostic(`prompts of ${least} to ${most} tokens`);
    assert.equal(await server.stop(), 0);
  }
  const sharing = requests.flatMap(({ shares, leaves }, i) => (shares && !leaves ? [i] : []));
  // Pages for one whole context only, so that answers under way are put away for others.
  const args = ['--context', '2048', '--parallel', '8', '--threads', '1', '--state-memory', '1M', '--chunk', '192'];
  const onDisk = [...args, '--cache-dir', temporaryFolder(t)];
  const hits = {};
  let server = await startServer(t, onDisk);
  hits['first load'] = await load(server, requests, expected);
  hits['again, from memory and disk'] = await load(server, requests, expected);
  await noteFigures(server);
  assert.equal(await server.stop(), 0);

  server = await startServer(t, onDisk);
  hits['after a restart'] = await load(server, requests, expected);

  // Killed while answers are under way: they fail, and nothing else happens.
  const broken = Promise.allSettled(requests.map(({ body }) => askStreamed(clientOf(server), { ...body, ...kLong })));
  await new Promise((resolve) => setTimeout(resolve, 700));
  assert.equal(await server.stop('SIGKILL'), 'SIGKILL');
  const lost = (await broken).filter(({ status }) => status === 'rejected').length;
  assert.ok(lost > 0, 'the server was killed after the load');
  server = await startServer(t, onDisk);
  hits['after kill -9 under load'] = await load(server, requests, expected);
  await noteFigures(server);
  assert.equal(await server.stop(), 0);

  const report = Object.entries(hits).map(([phase, clients]) => `${phase}: ${clients.length}`);
  t.diagnostic(`${figures.compared} answers compared, ${figures.left} left in mid-stream, ${lost} lost by the kill`);
  t.diagnostic(`answers with cached tokens: ${report.join('; ')}; of ${sharing.length} with a shared beginning`);
  t.diagnostic(`${figures.putAway} answers put away for others, ${figures.drafted} tokens drafted`);
  if (kClients >= 64) assert.ok(figures.putAway > 0, 'there was room for all');
  assert.ok(figures.drafted > 0, 'nothing was drafted');
  assert.equal(figures.compared, 4 * expected.filter(Boolean).length);
  assert.equal(figures.left, 4 * expected.filter((answer) => !answer).length);
  for (const phase of ['again, from memory and disk', 'after a restart', 'after kill -9 under load']) {
    assert.deepEqual(sharing.filter((i) => !hits[phase].includes(i)), [], phase);
  }
});
