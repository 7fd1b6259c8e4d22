import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const kTypes: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

/** Between two tokens, in milliseconds. */
const kTokenPause = 15;

interface ChatBody {
  model?: string;
  messages: { role: string; content: string }[];
  thinking?: { type: string };
  return_progress?: boolean;
}

/**
 * Plays `hadal serve` for the page's tests while there is none: the built page with its headers, the list of models, and
 * streams in DeepSeek's form. What it answers depends on the first word of the last message: `long` writes until the
 * client leaves, `think` thinks for a second or two, `fail` ends with an error in the stream, `break` cuts the
 * connection, `busy` is refused. All else is answered with `words`, or with what was asked.
 */
export class FakeServer {
  #server: Server;
  #folder: string;
  #headers: Record<string, string>;
  #key: string;
  /** What is answered, in place of an echo. */
  words: { reasoning: string; content: string } | null = null;
  /** Streams whose client left before their end. */
  left = 0;

  constructor(folder: string, headersFile: string, key: string) {
    this.#folder = folder;
    this.#headers = JSON.parse(readFileSync(headersFile, 'utf8')) as Record<string, string>;
    this.#key = key;
    this.#server = createServer((request, response) => {
      this.#handle(request, response).catch((cause: unknown) => response.destroy(cause as Error));
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((listening) => this.#server.listen(0, '127.0.0.1', listening));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://x').pathname;
    if (request.method === 'GET' && !path.startsWith('/v1/')) return this.#file(path, response);
    if (request.headers.authorization !== `Bearer ${this.#key}`) {
      return refuse(response, 401, 'Incorrect API key provided.', 'invalid_api_key');
    }
    if (path === '/v1/models') {
      const model = { id: 'hadal-nano', object: 'model', owned_by: 'hadal', name: 'Hadal nano' };
      return json(response, 200, { object: 'list', data: [model] });
    }
    if (path === '/v1/chat/completions') return this.#chat(request, response);
    refuse(response, 404, `There is no ${path}.`, 'not_found');
  }

  #file(path: string, response: ServerResponse): void {
    const name = path === '/' ? '/index.html' : normalize(path);
    let bytes: Buffer;
    try {
      bytes = readFileSync(join(this.#folder, name));
    } catch {
      return refuse(response, 404, `There is no ${path}.`, 'not_found');
    }
    response.writeHead(200, { ...this.#headers, 'content-type': kTypes[extname(name)] ?? 'application/octet-stream' });
    response.end(bytes);
  }

  async #chat(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = JSON.parse(Buffer.concat(parts).toString('utf8')) as ChatBody;
    if (body.model !== 'hadal-nano') {
      return refuse(response, 404, `The model '${body.model}' does not exist.`, 'model_not_found');
    }
    const asked = body.messages.at(-1)?.content ?? '';
    if (asked.startsWith('busy')) {
      response.setHeader('retry-after', '4');
      return refuse(response, 503, 'The queue is full.', 'server_overloaded');
    }
    await new Stream(response, body).play(asked, this.words);
    if (!response.writableEnded) this.left++;
  }
}

/** One streamed answer. */
class Stream {
  #response: ServerResponse;
  #body: ChatBody;
  #tokens = 0;
  #reasoningTokens = 0;

  constructor(response: ServerResponse, body: ChatBody) {
    this.#response = response;
    this.#body = body;
  }

  async play(asked: string, words: FakeServer['words']): Promise<void> {
    this.#response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' });
    await this.#write(': keep-alive\n\n');
    if (this.#body.return_progress) {
      const progress = { total: 4096, cache: 0, processed: 2048, time_ms: 100 };
      await this.#chunk({ delta: {}, finish_reason: null }, { prompt_progress: progress });
      await pause(150);
    }
    await this.#chunk({ delta: { role: 'assistant', content: null, reasoning_content: '' }, finish_reason: null });
    if (this.#body.thinking?.type !== 'disabled') {
      const thought = words?.reasoning ?? '用户 asks for an answer🙂. '.repeat(asked.startsWith('think') ? 20 : 1);
      for (const word of tokensOf(thought)) await this.#reason(word);
    }
    if (asked.startsWith('long')) {
      for (let word = 1; !this.#response.destroyed; word++) await this.#say(`word ${word} `);
      return;
    }
    for (const word of tokensOf(words?.content ?? `You wrote: **${asked}**.\n\n\`\`\`c++\nint x = 1;\n\`\`\`\n`)) await this.#say(word);
    if (asked.startsWith('break')) {
      this.#response.destroy();
      return;
    }
    if (asked.startsWith('fail')) {
      await this.#write('data: {"error":{"message":"The engine ran out of memory.","type":"server_error","param":null,"code":null}}\n\n');
      this.#response.end();
      return;
    }
    await this.#chunk({ delta: { content: '', reasoning_content: null }, finish_reason: 'stop' });
    await this.#write(`data: ${JSON.stringify({ choices: [], usage: this.#usage() })}\n\n`);
    await this.#write('data: [DONE]\n\n');
    this.#response.end();
  }

  async #reason(text: string): Promise<void> {
    this.#reasoningTokens++;
    this.#tokens++;
    await this.#chunk({ delta: { content: null, reasoning_content: text }, finish_reason: null });
    await pause(kTokenPause);
  }

  async #say(text: string): Promise<void> {
    this.#tokens++;
    await this.#chunk({ delta: { content: text, reasoning_content: null }, finish_reason: null });
    await pause(kTokenPause);
  }

  #usage(): object {
    const prompt = 268;
    return {
      prompt_tokens: prompt,
      completion_tokens: this.#tokens,
      total_tokens: prompt + this.#tokens,
      prompt_tokens_details: { cached_tokens: 256 },
      completion_tokens_details: { reasoning_tokens: this.#reasoningTokens },
    };
  }

  #chunk(choice: object, more: object = {}): Promise<void> {
    const common = { id: 'chatcmpl-0', object: 'chat.completion.chunk', created: 1, model: 'hadal-nano' };
    return this.#write(`data: ${JSON.stringify({ ...common, choices: [{ index: 0, ...choice }], ...more })}\n\n`);
  }

  /** Sends an event in two pieces, cut in the middle, whatever stands there. */
  async #write(text: string): Promise<void> {
    const bytes = Buffer.from(text);
    const middle = bytes.length >> 1;
    this.#response.write(bytes.subarray(0, middle));
    await pause(1);
    this.#response.write(bytes.subarray(middle));
  }
}

/** Words with the space behind them. */
const tokensOf = (text: string): string[] => text.match(/\S+\s*/g) ?? [];

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function refuse(response: ServerResponse, status: number, message: string, code: string): void {
  json(response, status, { error: { message, type: 'invalid_request_error', param: null, code } });
}
