import type { WireMessage } from './conversation.ts';

export type Thinking = 'default' | 'off' | 'low' | 'high' | 'max';
export const kThinking: readonly Thinking[] = ['default', 'off', 'low', 'high', 'max'];

/** The panel as it is typed; an empty field leaves the choice to the server. */
export interface Settings {
  model: string;
  system: string;
  thinking: Thinking;
  temperature: string;
  topP: string;
  maxTokens: string;
  seed: string;
}

export type NumberField = 'temperature' | 'topP' | 'maxTokens' | 'seed';

interface NumberRule {
  wire: string;
  integer: boolean;
  accepts: (value: number) => boolean;
  problem: string;
}

/** Ranges of the server's fields, so that a slip is told beside its field. */
export const kNumberRules: Record<NumberField, NumberRule> = {
  temperature: {
    wire: 'temperature',
    integer: false,
    accepts: (value) => value >= 0 && value <= 2,
    problem: 'A number from 0 to 2.',
  },
  topP: {
    wire: 'top_p',
    integer: false,
    accepts: (value) => value > 0 && value <= 1,
    problem: 'A number above 0, up to 1.',
  },
  maxTokens: {
    wire: 'max_tokens',
    integer: true,
    accepts: (value) => value >= 1 && Number.isSafeInteger(value),
    problem: 'A whole number from 1.',
  },
  seed: {
    wire: 'seed',
    integer: true,
    // JSON numbers beyond 2^53 would not arrive as typed.
    accepts: (value) => Number.isSafeInteger(value),
    problem: 'A whole number up to 9,007,199,254,740,991.',
  },
};

export const kNumberFields = Object.keys(kNumberRules) as NumberField[];

export const kDefaultSettings: Settings = {
  model: '',
  system: '',
  thinking: 'default',
  temperature: '',
  topP: '',
  maxTokens: '',
  seed: '',
};

/** What is wrong with a field; null: nothing. */
export function fieldProblem(field: NumberField, text: string): string | null {
  const typed = text.trim();
  if (typed === '') return null;
  const rule = kNumberRules[field];
  const shape = rule.integer ? /^-?\d+$/ : /^-?(\d+\.?\d*|\.\d+)$/;
  return shape.test(typed) && rule.accepts(Number(typed)) ? null : rule.problem;
}

/** Settings out of stored JSON; fields that are missing or of a wrong type get their defaults. */
export function parseSettings(stored: string | null): Settings {
  const settings = { ...kDefaultSettings };
  let value: unknown = null;
  try {
    value = JSON.parse(stored ?? 'null');
  } catch {
    return settings;
  }
  if (typeof value !== 'object' || value === null) return settings;
  const fields = value as Record<string, unknown>;
  for (const name of ['model', 'system', ...kNumberFields] as const) {
    const field = fields[name];
    if (typeof field === 'string') settings[name] = field;
  }
  const thinking = kThinking.find((choice) => choice === fields.thinking);
  if (thinking !== undefined) settings.thinking = thinking;
  return settings;
}

/** The body of `POST /v1/chat/completions`. Fields with a problem are left out; the page does not send while there is one. */
export function chatRequest(settings: Settings, messages: WireMessage[]): Record<string, unknown> {
  const body: Record<string, unknown> = {
    messages,
    stream: true,
    stream_options: { include_usage: true },
    return_progress: true,
  };
  if (settings.model !== '') body.model = settings.model;
  if (settings.thinking === 'off') {
    body.thinking = { type: 'disabled' };
  } else if (settings.thinking !== 'default') {
    body.thinking = { type: 'enabled' };
    body.reasoning_effort = settings.thinking;
  }
  for (const field of kNumberFields) {
    const typed = settings[field].trim();
    if (typed !== '' && fieldProblem(field, typed) === null) body[kNumberRules[field].wire] = Number(typed);
  }
  return body;
}
