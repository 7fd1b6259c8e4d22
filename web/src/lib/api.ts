import { errorMessage, readChatEvent, type ChatEvent } from './chat_events.ts';
import { SseParser } from './sse.ts';

/** An answer of the server, or of the network, that the user must see. `status` 0: there was no answer. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    sentence: string,
  ) {
    super(sentence);
  }
  get needsKey(): boolean {
    return this.status === 401;
  }
  /** Whether the same request may succeed a little later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 503;
  }
}

export interface Model {
  id: string;
  name: string;
}

const kUnreachable = 'The server cannot be reached. Check that it is running.';

/** Fields of a request that carry the key, which may be empty. */
function headersFor(key: string): Record<string, string> {
  return key === '' ? {} : { Authorization: `Bearer ${key}` };
}

/** What a refused request means, in one sentence. */
export function refusalSentence(status: number, body: string, retryAfter: string | null): string {
  let parsed: unknown = null;
  try {
    parsed = JSON.parse(body);
  } catch {
    parsed = null; // a proxy's page: the status has to do
  }
  const message = errorMessage(parsed);
  const told = message === null ? `The server answered with status ${status}.` : message;
  if (status === 401) return `The API key is missing or not accepted: enter it in the settings. (${told})`;
  const wait = Number(retryAfter);
  return retryAfter !== null && Number.isFinite(wait) && wait > 0 ? `${told} Try again in ${wait} s.` : told;
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { ...init, credentials: 'omit', redirect: 'error', cache: 'no-store' });
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new ApiError(0, kUnreachable);
  }
  if (!response.ok) {
    const body = await response.text().catch(() => '');
    throw new ApiError(response.status, refusalSentence(response.status, body, response.headers.get('retry-after')));
  }
  return response;
}

/** The models that this key may use. */
export async function listModels(key: string): Promise<Model[]> {
  const response = await request('v1/models', { headers: headersFor(key) });
  const body: unknown = await response.json().catch(() => null);
  const data = (body as { data?: unknown } | null)?.data;
  if (!Array.isArray(data)) throw new ApiError(response.status, 'The server sent a list of models that cannot be read.');
  const models: Model[] = [];
  for (const entry of data as { id?: unknown; name?: unknown }[]) {
    if (typeof entry?.id !== 'string') continue;
    models.push({ id: entry.id, name: typeof entry.name === 'string' ? entry.name : entry.id });
  }
  return models;
}

/** Sends a chat and hands on the events of its answer as they come. Ends with the stream; throws an ApiError, or what
 * `signal` throws. */
export async function streamChat(
  body: Record<string, unknown>,
  key: string,
  signal: AbortSignal,
  take: (event: ChatEvent) => void,
): Promise<void> {
  const response = await request('v1/chat/completions', {
    method: 'POST',
    headers: { ...headersFor(key), 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.headers.get('content-type')?.startsWith('text/event-stream') || response.body === null) {
    throw new ApiError(response.status, 'The server did not send a stream; something between it and the page changed it.');
  }
  const reader = response.body.getReader();
  const parser = new SseParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      for (const data of parser.push(value)) readChatEvent(data).forEach(take);
    }
  } catch (cause) {
    if (signal.aborted) throw cause;
    if (cause instanceof SyntaxError || cause instanceof RangeError) {
      throw new ApiError(response.status, 'The server sent an event that cannot be read.');
    }
    throw new ApiError(0, 'The connection to the server broke before the answer was complete.');
  } finally {
    // After an event that cannot be read the server must not go on computing.
    reader.cancel().catch(() => undefined);
  }
}
