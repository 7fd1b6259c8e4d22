// An agent at work: every turn thinks, calls a tool and gets a long result, until the context has 32,000 tokens. What was
// computed before must not be computed again, also after a restart in the middle.

import assert from 'node:assert/strict';
import test from 'node:test';

import { clientOf, kModel, scriptFile, startServer, temporaryFolder } from './start_server.mjs';

const kTurns = Number(process.env.HADAL_TURNS ?? 50);
const kContext = 40_960;
const kAnswer =
  'I should read the next part.</think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="read">\n' +
  '<｜DSML｜parameter name="part" string="false">7</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';
const tools = [{ type: 'function', function: { name: 'read', parameters: { type: 'object', properties: { part: { type: 'integer' } } } } }];

/** A tool's result of some 590 tokens, other words in every turn. */
function result(turn) {
  const words = ['dog', 'tree', 'house', 'river', 'bread', 'stone', 'friend', 'moon', 'garden', 'boat'];
  let text = `Part ${turn}.`;
  for (let i = 0; i < 530; ++i) text += ` ${words[(i * i + turn * 7 + i) % words.length]}`;
  return text;
}

/** Tokens of prompts that the server has computed so far. */
async function computedTokens(server) {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(/^hadal:prompt_tokens_total\{[^}]*\} (\S+)$/m.exec(text)[1]);
}

test(`an agent of ${kTurns} turns`, async (t) => {
  const args = ['--thinking', 'on', '--context', `${kContext}`, '--parallel', '2', '--cache-dir', temporaryFolder(t)];
  args.push('--script', scriptFile(t, [kAnswer]));
  let server = await startServer(t, args);
  const messages = [{ role: 'user', content: 'Read all parts and tell me what they say.' }];
  let before = 0; // tokens of the last turn's prompt and answer, all of which were computed then
  let beyond = 0;
  let fresh = 0;
  let afterRestart = 0;
  const times = [];
  for (let turn = 0; turn < kTurns; ++turn) {
    if (turn === Math.floor(kTurns / 2)) {
      assert.equal(await server.stop(), 0);
      server = await startServer(t, args);
    }
    const start = await computedTokens(server);
    const began = performance.now();
    const stream = await clientOf(server, { timeout: 3_600_000 }).chat.completions.create({
      model: kModel, messages, tools, stream: true, stream_options: { include_usage: true }, max_tokens: 200, temperature: 0,
    });
    const message = { role: 'assistant', content: '', reasoning_content: '', tool_calls: [] };
    let usage;
    let first = 0;
    for await (const chunk of stream) {
      usage = chunk.usage ?? usage;
      const delta = chunk.choices[0]?.delta ?? {};
      if (first === 0 && delta.reasoning_content) first = performance.now() - began;
      message.reasoning_content += delta.reasoning_content ?? '';
      message.content += delta.content ?? '';
      for (const call of delta.tool_calls ?? []) {
        if (call.id) message.tool_calls.push({ id: call.id, type: 'function', function: { ...call.function } });
        else message.tool_calls[call.index].function.arguments += call.function.arguments;
      }
    }
    assert.equal(message.tool_calls.length, 1, `turn ${turn}`);
    const computed = (await computedTokens(server)) - start;
    const added = usage.prompt_tokens - before;
    times.push({ depth: usage.prompt_tokens, added, computed, first });
    if (turn > 0) {
      fresh += added;
      beyond += computed - added;
      if (turn === Math.floor(kTurns / 2)) afterRestart = computed - added;
    }
    before = usage.prompt_tokens + usage.completion_tokens;
    messages.push(message, { role: 'tool', tool_call_id: message.tool_calls[0].id, content: result(turn) });
  }
  for (const turn of [1, Math.floor(kTurns / 2), kTurns - 1]) {
    const { depth, added, computed, first } = times[turn];
    t.diagnostic(`turn ${turn}: prompt ${depth}, new ${added}, computed ${computed}, first token after ${first.toFixed(0)} ms`);
  }
  t.diagnostic(`computed beyond the new tokens: ${beyond} of ${fresh} (${((100 * beyond) / fresh).toFixed(2)} %); after the restart: ${afterRestart}`);

  // The last prompt at once, by a server that knows nothing, for comparison.
  const cold = await startServer(t, ['--thinking', 'on', '--context', `${kContext}`, '--parallel', '2']);
  const began = performance.now();
  const prompt = messages.slice(0, -2);
  const answer = await clientOf(cold, { timeout: 3_600_000 }).chat.completions.create({ model: kModel, messages: prompt, tools, max_tokens: 1 });
  t.diagnostic(`the last prompt from nothing: ${answer.usage.prompt_tokens} tokens in ${(performance.now() - began).toFixed(0)} ms`);

  assert.ok(beyond <= 0.02 * fresh, `${beyond} tokens computed again`);
  assert.ok(afterRestart <= 2048);
});
