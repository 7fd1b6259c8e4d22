/** Tokens of an answer as the server counted them; null where it said nothing. */
export interface Usage {
  promptTokens: number | null;
  cachedTokens: number | null;
  completionTokens: number | null;
  reasoningTokens: number | null;
}

/** What one event of a streamed answer means to the page. */
export type ChatEvent =
  | { kind: 'text'; reasoning: string; content: string }
  | { kind: 'progress'; processed: number; total: number }
  | { kind: 'finish'; reason: string }
  | { kind: 'usage'; usage: Usage }
  | { kind: 'error'; message: string }
  | { kind: 'done' };

type Json = Record<string, unknown>;

const asObject = (value: unknown): Json | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : null;
const asText = (value: unknown): string => (typeof value === 'string' ? value : '');
const asCount = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null;

/** The parts of a chunk of `POST /v1/chat/completions`, or of what follows the last one. Throws on data that is no JSON. */
export function readChatEvent(data: string): ChatEvent[] {
  if (data === '[DONE]') return [{ kind: 'done' }];
  const chunk = asObject(JSON.parse(data));
  if (chunk === null) return [];
  if (chunk.error !== undefined && chunk.error !== null) return [{ kind: 'error', message: errorMessage(chunk) ?? '' }];
  const events: ChatEvent[] = [];
  const progress = asObject(chunk.prompt_progress);
  const processed = asCount(progress?.processed);
  const total = asCount(progress?.total);
  if (processed !== null && total !== null) events.push({ kind: 'progress', processed, total });
  const choices = Array.isArray(chunk.choices) ? chunk.choices : [];
  for (const choice of choices.map(asObject)) {
    if (choice === null || (choice.index ?? 0) !== 0) continue;
    const delta = asObject(choice.delta);
    const reasoning = asText(delta?.reasoning_content);
    const content = asText(delta?.content);
    if (reasoning !== '' || content !== '') events.push({ kind: 'text', reasoning, content });
    if (typeof choice.finish_reason === 'string') events.push({ kind: 'finish', reason: choice.finish_reason });
  }
  const usage = asObject(chunk.usage);
  if (usage !== null) events.push({ kind: 'usage', usage: readUsage(usage) });
  return events;
}

function readUsage(usage: Json): Usage {
  return {
    promptTokens: asCount(usage.prompt_tokens),
    cachedTokens: asCount(usage.prompt_cache_hit_tokens) ?? asCount(asObject(usage.prompt_tokens_details)?.cached_tokens),
    completionTokens: asCount(usage.completion_tokens),
    reasoningTokens: asCount(asObject(usage.completion_tokens_details)?.reasoning_tokens),
  };
}

/** The sentence of an error body `{"error":{"message":…}}`; null if there is none. */
export function errorMessage(body: unknown): string | null {
  const error = asObject(body)?.error;
  const message = typeof error === 'string' ? error : asObject(error)?.message;
  return typeof message === 'string' && message !== '' ? message : null;
}
