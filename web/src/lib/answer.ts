import type { ChatEvent, Usage } from './chat_events.ts';

/** `running` while it arrives; `stopped` by the user or by leaving the page; `failed`: `error` says why. */
export type Outcome = 'running' | 'complete' | 'stopped' | 'failed';

/** Token counts of the server and times of the page, in milliseconds; null: not known. */
export interface Numbers extends Usage {
  /** From sending to the first text, reasoning included. */
  firstTokenMs: number | null;
  /** From the first reasoning to the first text of the answer, or to the end if there is none. */
  reasoningMs: number | null;
  /** From the first to the last text. */
  writingMs: number | null;
}

export interface AnswerMessage {
  role: 'assistant';
  id: number;
  model: string;
  content: string;
  reasoning: string;
  outcome: Outcome;
  /** The server's finish reason. */
  finish: string | null;
  error: string | null;
  numbers: Numbers;
}

export const kNoNumbers: Numbers = {
  promptTokens: null,
  cachedTokens: null,
  completionTokens: null,
  reasoningTokens: null,
  firstTokenMs: null,
  reasoningMs: null,
  writingMs: null,
};

/** Puts an answer together from the events of its stream. Times come from the caller, in milliseconds. */
export class AnswerBuilder {
  #sent: number;
  #firstText: number | null = null;
  #lastText: number | null = null;
  #firstReasoning: number | null = null;
  #reasoningEnd: number | null = null;
  #usage: Usage | null = null;
  #finish: string | null = null;
  #error: string | null = null;
  #done = false;
  content = '';
  reasoning = '';
  /** How much of the prompt has been read, until the first text. */
  progress: { processed: number; total: number } | null = null;

  constructor(sent: number) {
    this.#sent = sent;
  }

  apply(event: ChatEvent, now: number): void {
    switch (event.kind) {
      case 'text':
        this.#takeText(event.reasoning, event.content, now);
        break;
      case 'progress':
        if (this.#firstText === null) this.progress = { processed: event.processed, total: event.total };
        break;
      case 'finish':
        this.#finish = event.reason;
        break;
      case 'usage':
        this.#usage = event.usage;
        break;
      case 'error':
        this.#error = event.message || 'The server reported an error without a message.';
        break;
      case 'done':
        this.#done = true;
        break;
    }
  }

  /** When the first reasoning came, for a clock that runs while the model thinks; null: none, or it has ended. */
  get thinkingSince(): number | null {
    return this.#reasoningEnd === null ? this.#firstReasoning : null;
  }

  get error(): string | null {
    return this.#error;
  }

  /** The answer when its stream has ended: by itself, by the user, or by an error of the connection. */
  end(how: { stopped: boolean; error: string | null }, now: number): Omit<AnswerMessage, 'role' | 'id' | 'model'> {
    let error = how.error ?? this.#error;
    if (error === null && !how.stopped && !this.#done) {
      error = 'The connection ended before the answer was complete.';
    }
    const outcome = error !== null ? 'failed' : how.stopped ? 'stopped' : 'complete';
    const reasoningEnd = this.#reasoningEnd ?? now;
    return {
      content: this.content,
      reasoning: this.reasoning,
      outcome,
      finish: this.#finish,
      error,
      numbers: {
        ...kNoNumbers,
        ...this.#usage,
        firstTokenMs: this.#firstText === null ? null : this.#firstText - this.#sent,
        reasoningMs: this.#firstReasoning === null ? null : reasoningEnd - this.#firstReasoning,
        writingMs: this.#firstText === null || this.#lastText === null ? null : this.#lastText - this.#firstText,
      },
    };
  }

  #takeText(reasoning: string, content: string, now: number): void {
    this.progress = null;
    this.#firstText ??= now;
    this.#lastText = now;
    if (reasoning !== '') {
      this.#firstReasoning ??= now;
      this.reasoning += reasoning;
    }
    if (content !== '') {
      if (this.#firstReasoning !== null) this.#reasoningEnd ??= now;
      this.content += content;
    }
  }
}
