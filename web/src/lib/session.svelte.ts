import { AnswerBuilder, kNoNumbers, type AnswerMessage } from './answer.ts';
import { ApiError, listModels, streamChat, type Model } from './api.ts';
import { parseConversation, serializeConversation, wireMessages, type Message } from './conversation.ts';
import { formatCount } from './numbers.ts';
import { chatRequest, fieldProblem, kNumberFields, parseSettings, type Settings } from './settings.ts';

const kConversationKey = 'hadal.conversation';
const kSettingsKey = 'hadal.settings';
const kDraftKey = 'hadal.draft';
/** In sessionStorage: gone when the tab closes. */
const kApiKeyKey = 'hadal.key';

/** Between two drawings of an answer that is arriving, and between two looks at the clock; milliseconds. */
const kDrawInterval = 50;
/** Between two savings of an answer that is arriving. */
const kSaveInterval = 1000;
/** Between two tries to reach a server that is away or not ready. */
const kRetryInterval = 3000;

/** The state of the page, and what can be done with it. One answer at a time. */
export class ChatSession {
  messages = $state<Message[]>([]);
  settings = $state<Settings>(parseSettings(null));
  apiKey = $state('');
  draft = $state('');
  /** The message that the draft will replace, with all behind it; null: the draft is a new message. */
  editing = $state<number | null>(null);
  models = $state.raw<Model[]>([]);
  /** Why there is no list of models. */
  serverProblem = $state<string | null>(null);
  needsKey = $state(false);
  /** Something of the browser that the user should know. */
  notice = $state<string | null>(null);
  running = $state(false);
  /** While an answer arrives: what the model is doing, for the line below it. */
  activity = $state('');
  /** For a screen reader: changes when an answer begins and ends, not with each word. */
  announcement = $state('');
  #abort: AbortController | null = null;
  #nextId = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.messages = parseConversation(readStored(localStorage, kConversationKey));
    this.#nextId = this.messages.length;
    this.settings = parseSettings(readStored(localStorage, kSettingsKey));
    this.draft = readStored(localStorage, kDraftKey) ?? '';
    this.apiKey = readStored(sessionStorage, kApiKeyKey) ?? '';
  }

  get settingsValid(): boolean {
    return kNumberFields.every((field) => fieldProblem(field, this.settings[field]) === null);
  }

  get canSend(): boolean {
    return !this.running && this.settingsValid && this.draft.trim() !== '';
  }

  /** Asks for the models; while the server is away or not ready, again and again. */
  async loadModels(): Promise<void> {
    clearTimeout(this.#retry);
    try {
      const models = await listModels(this.apiKey);
      this.models = models;
      this.serverProblem = null;
      this.needsKey = false;
      if (!models.some((model) => model.id === this.settings.model)) this.settings.model = models[0]?.id ?? '';
    } catch (cause) {
      this.models = [];
      this.serverProblem = cause instanceof Error ? cause.message : String(cause);
      this.needsKey = cause instanceof ApiError && cause.needsKey;
      if (cause instanceof ApiError && cause.passing) {
        this.#retry = setTimeout(() => void this.loadModels(), kRetryInterval);
      }
    }
  }

  /** Takes the key for this tab, and asks again with it. */
  useKey(key: string): void {
    this.apiKey = key.trim();
    this.#store(sessionStorage, kApiKeyKey, this.apiKey);
    void this.loadModels();
  }

  /** Sends the draft. */
  async send(): Promise<void> {
    if (!this.canSend) return;
    if (this.editing !== null) this.messages = this.messages.slice(0, this.#indexOf(this.editing));
    this.editing = null;
    this.messages.push({ role: 'user', id: this.#nextId++, content: this.draft });
    this.draft = '';
    this.saveDraft();
    await this.#answer();
  }

  /** Asks once more for the last answer. */
  async regenerate(): Promise<void> {
    if (this.running || !this.settingsValid || this.messages.length === 0) return;
    if (this.messages.at(-1)?.role === 'assistant') this.messages = this.messages.slice(0, -1);
    await this.#answer();
  }

  /** Ends the answer that is arriving; the server is told by the end of the connection. */
  stop(): void {
    this.#abort?.abort();
  }

  edit(id: number): void {
    const message = this.messages[this.#indexOf(id)];
    if (message?.role !== 'user' || this.running) return;
    this.editing = id;
    this.draft = message.content;
  }

  cancelEdit(): void {
    this.editing = null;
    this.draft = '';
    this.saveDraft();
  }

  clear(): void {
    this.stop();
    this.messages = [];
    this.editing = null;
    this.save();
    this.announcement = 'New conversation.';
  }

  /** The page goes away: what has come is kept, and the end of the connection is no failure. */
  leave(): void {
    this.stop();
    this.save();
  }

  save(): void {
    this.#store(localStorage, kConversationKey, serializeConversation(this.messages));
  }

  saveSettings(): void {
    this.#store(localStorage, kSettingsKey, JSON.stringify(this.settings));
  }

  saveDraft(): void {
    this.#store(localStorage, kDraftKey, this.draft);
  }

  async #answer(): Promise<void> {
    const abort = new AbortController();
    const body = chatRequest(this.settings, wireMessages(this.messages, this.settings.system));
    const message = this.#openAnswer();
    const builder = new AnswerBuilder(performance.now());
    const drawing = setInterval(() => this.#draw(message, builder), kDrawInterval);
    const saving = setInterval(() => this.save(), kSaveInterval);
    this.#abort = abort;
    this.running = true;
    this.announcement = 'The answer is being written.';
    this.save();
    let error: string | null = null;
    try {
      await streamChat(body, this.apiKey, abort.signal, (event) => builder.apply(event, performance.now()));
    } catch (cause) {
      if (!abort.signal.aborted) error = cause instanceof Error ? cause.message : String(cause);
      if (cause instanceof ApiError && cause.needsKey) this.needsKey = true;
    } finally {
      clearInterval(drawing);
      clearInterval(saving);
    }
    Object.assign(message, builder.end({ stopped: abort.signal.aborted, error }, performance.now()));
    this.#abort = null;
    this.running = false;
    this.activity = '';
    this.announcement = describeEnd(message);
    // A conversation that was cleared meanwhile no longer holds this answer.
    this.save();
  }

  #openAnswer(): AnswerMessage {
    this.messages.push({
      role: 'assistant',
      id: this.#nextId++,
      model: this.settings.model,
      content: '',
      reasoning: '',
      outcome: 'running',
      finish: null,
      error: null,
      numbers: kNoNumbers,
    });
    return this.messages.at(-1) as AnswerMessage;
  }

  #draw(message: AnswerMessage, builder: AnswerBuilder): void {
    message.content = builder.content;
    message.reasoning = builder.reasoning;
    const { progress, thinkingSince } = builder;
    if (thinkingSince !== null) {
      message.numbers = { ...kNoNumbers, reasoningMs: performance.now() - thinkingSince };
    }
    if (progress !== null) {
      this.activity = `Reading the prompt: ${formatCount(progress.processed)} of ${formatCount(progress.total)} tokens`;
    } else {
      this.activity = builder.content === '' && builder.reasoning === '' ? 'Waiting for the first token' : '';
    }
  }

  #indexOf(id: number): number {
    return this.messages.findIndex((message) => message.id === id);
  }

  #store(storage: Storage, key: string, value: string): void {
    try {
      if (value === '') storage.removeItem(key);
      else storage.setItem(key, value);
    } catch {
      this.notice = 'The browser has no room for this conversation: it will be gone when the page is left.';
    }
  }
}

function describeEnd(message: AnswerMessage): string {
  if (message.outcome === 'failed') return `The answer failed. ${message.error ?? ''}`;
  return message.outcome === 'stopped' ? 'The answer was stopped.' : 'The answer is complete.';
}

function readStored(storage: Storage, key: string): string | null {
  try {
    return storage.getItem(key);
  } catch {
    return null; // storage may be forbidden; the page works without it
  }
}
