import { kNoNumbers, type AnswerMessage, type Numbers, type Outcome } from './answer.ts';

export interface UserMessage {
  role: 'user';
  id: number;
  content: string;
}

export type Message = UserMessage | AnswerMessage;

/** A message as the server reads it. */
export interface WireMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
  reasoning_content?: string;
}

const kVersion = 1;
const kOutcomes: readonly Outcome[] = ['running', 'complete', 'stopped', 'failed'];

/** The messages of a request. Answers that brought nothing are left out; reasoning goes back as it came, so that the
 * server recognises its own turn. */
export function wireMessages(messages: readonly Message[], system: string): WireMessage[] {
  const wire: WireMessage[] = [];
  if (system.trim() !== '') wire.push({ role: 'system', content: system });
  for (const message of messages) {
    if (message.role === 'user') {
      wire.push({ role: 'user', content: message.content });
    } else if (message.content !== '') {
      const reasoning = message.reasoning === '' ? {} : { reasoning_content: message.reasoning };
      wire.push({ role: 'assistant', content: message.content, ...reasoning });
    }
  }
  return wire;
}

export function serializeConversation(messages: readonly Message[]): string {
  return JSON.stringify({ version: kVersion, messages });
}

/** The stored conversation; messages that are damaged, or of a later version, are left out. An answer that was under way
 * when the page went away counts as stopped. */
export function parseConversation(stored: string | null): Message[] {
  let value: unknown = null;
  try {
    value = JSON.parse(stored ?? 'null');
  } catch {
    return [];
  }
  const document = asRecord(value);
  if (document === null || document.version !== kVersion || !Array.isArray(document.messages)) return [];
  const messages: Message[] = [];
  for (const entry of document.messages.map(asRecord)) {
    const message = entry === null ? null : readMessage(entry, messages.length);
    if (message !== null) messages.push(message);
  }
  return messages;
}

function readMessage(entry: Record<string, unknown>, id: number): Message | null {
  if (typeof entry.content !== 'string') return null;
  if (entry.role === 'user') return { role: 'user', id, content: entry.content };
  if (entry.role !== 'assistant') return null;
  const outcome = kOutcomes.find((known) => known === entry.outcome) ?? 'complete';
  return {
    role: 'assistant',
    id,
    model: asText(entry.model) ?? '',
    content: entry.content,
    reasoning: asText(entry.reasoning) ?? '',
    outcome: outcome === 'running' ? 'stopped' : outcome,
    finish: asText(entry.finish),
    error: asText(entry.error),
    numbers: readNumbers(asRecord(entry.numbers)),
  };
}

function readNumbers(stored: Record<string, unknown> | null): Numbers {
  const numbers = { ...kNoNumbers };
  for (const name of Object.keys(numbers) as (keyof Numbers)[]) {
    const value = stored?.[name];
    if (typeof value === 'number' && Number.isFinite(value)) numbers[name] = value;
  }
  return numbers;
}

function asRecord(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
}

function asText(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
