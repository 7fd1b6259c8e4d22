import MarkdownIt, { type Token } from 'markdown-it';
import { safeTarget } from './links.ts';

/**
 * An answer as a tree that the page draws with text nodes only. Nothing in it is HTML: what the model wrote as HTML is
 * text, and the only attribute that its text reaches is the target of a link, which `safeTarget` has let through.
 */
export type Inline =
  | { kind: 'text'; text: string }
  | { kind: 'code'; text: string }
  | { kind: 'break' }
  | { kind: 'strong' | 'emphasis' | 'deleted'; inlines: Inline[] }
  | { kind: 'link'; href: string; host: string; inlines: Inline[] };

export type Align = 'left' | 'center' | 'right';

export interface Item {
  /** Of a task: whether it is done; null: no task. */
  checked: boolean | null;
  blocks: Block[];
}

export interface Cell {
  align: Align;
  inlines: Inline[];
}

/** `plain`: a paragraph without space around it; `raw`: text that is shown with its own line ends. */
export type Block =
  | { kind: 'paragraph' | 'plain'; inlines: Inline[] }
  | { kind: 'raw'; text: string }
  | { kind: 'heading'; level: number; inlines: Inline[] }
  | { kind: 'code'; language: string; text: string }
  | { kind: 'quote'; blocks: Block[] }
  | { kind: 'list'; ordered: boolean; start: number; items: Item[] }
  | { kind: 'table'; rows: Cell[][] }
  | { kind: 'rule' };

/** Elements inside each other beyond this depth are left out; what stands in them is shown. */
export const kDeepest = 24;
/** Of the parser: it drops what stands deeper. */
const kParserDepth = 80;

const parser = new MarkdownIt({ html: false, linkify: true, maxNesting: kParserDepth });
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
// A link that may not be one stays as it was typed, so that it can be judged.
parser.validateLink = (href) => safeTarget(href) !== null;

/** Blocks of a whole text. Never throws: what cannot be taken apart is shown as it was typed. */
export function parseMarkdown(text: string): Block[] {
  return parsePieces(withLineFeeds(text)).map((piece) => piece.block);
}

const withLineFeeds = (text: string): string => text.replace(/\r\n?/g, '\n');

/** A block, and where in its text it begins, in lines. */
interface Piece {
  block: Block;
  line: number;
}

function parsePieces(text: string): Piece[] {
  if (text.trim() === '') return [];
  try {
    const tokens = parser.parse(text, {});
    if (tokens.every((token) => token.level < kParserDepth - 2)) return new TreeBuilder().build(tokens);
  } catch {
    // A fault of the parser must not take the answer away.
  }
  return [{ block: { kind: 'raw', text }, line: 0 }];
}

/**
 * Blocks of a text that grows at its end. Blocks that no later text changes are kept as they are, so that the cost of a
 * step is that of the last blocks. A reference defined further down changes what stands above it: the whole text is
 * parsed once more when it is complete.
 */
export class GrowingMarkdown {
  #text = '';
  #settled: Block[] = [];
  #settledLength = 0;

  update(text: string, complete: boolean): Block[] {
    if (complete) return parseMarkdown(text);
    text = withLineFeeds(text);
    if (!text.startsWith(this.#text)) {
      this.#settled = [];
      this.#settledLength = 0;
    }
    this.#text = text;
    const rest = text.slice(this.#settledLength);
    const pieces = parsePieces(rest);
    // The last block may go on, and the one before it may turn out to be a part of it.
    const open = pieces.slice(-2);
    this.#settled = this.#settled.concat(pieces.slice(0, -2).map((piece) => piece.block));
    if (open.length < pieces.length) this.#settledLength += offsetOfLine(rest, open[0]?.line ?? 0);
    return this.#settled.concat(open.map((piece) => piece.block));
  }
}

function offsetOfLine(text: string, line: number): number {
  let offset = 0;
  for (let passed = 0; passed < line; passed++) offset = text.indexOf('\n', offset) + 1;
  return offset;
}

/** Where the blocks go that are being read: the text itself, a quote, a list item. */
type Container = (block: Block, line: number) => void;

/** Makes the tree out of the parser's flat list of blocks. */
class TreeBuilder {
  #pieces: Piece[] = [];
  #containers: Container[] = [(block, line) => this.#pieces.push({ block, line })];
  #lists: (Block & { kind: 'list' })[] = [];
  #rows: Cell[][] = [];

  build(tokens: Token[]): Piece[] {
    for (const [index, token] of tokens.entries()) this.#take(token, tokens[index + 1]);
    return this.#pieces;
  }

  #take(token: Token, next: Token | undefined): void {
    const inlines = (): Inline[] => toInlines(next?.children ?? []);
    switch (token.type) {
      case 'paragraph_open':
        return this.#add({ kind: token.hidden ? 'plain' : 'paragraph', inlines: inlines() }, token);
      case 'heading_open':
        return this.#add({ kind: 'heading', level: Number(token.tag.slice(1)), inlines: inlines() }, token);
      case 'fence':
      case 'code_block':
        return this.#add({ kind: 'code', language: languageOf(token.info), text: token.content.replace(/\n$/, '') }, token);
      case 'hr':
        return this.#add({ kind: 'rule' }, token);
      case 'blockquote_open':
        return this.#openQuote(token);
      case 'bullet_list_open':
      case 'ordered_list_open':
        return this.#openList(token);
      case 'list_item_open':
        return this.#openItem();
      case 'list_item_close':
        return this.#closeItem();
      case 'blockquote_close':
        this.#containers.pop();
        return;
      case 'bullet_list_close':
      case 'ordered_list_close':
        this.#lists.pop();
        return;
      case 'table_open':
        this.#rows = [];
        return this.#add({ kind: 'table', rows: this.#rows }, token);
      case 'tr_open':
        this.#rows.push([]);
        return;
      case 'th_open':
      case 'td_open':
        this.#rows.at(-1)?.push({ align: alignOf(token), inlines: withBreaks(inlines()) });
        return;
    }
  }

  get #container(): Container {
    return this.#containers.at(-1) as Container;
  }

  #add(block: Block, token: Token): void {
    this.#container(block, token.map?.[0] ?? 0);
  }

  #openQuote(token: Token): void {
    if (this.#containers.length >= kDeepest) {
      this.#containers.push(this.#container);
      return;
    }
    const blocks: Block[] = [];
    this.#add({ kind: 'quote', blocks }, token);
    this.#containers.push((block) => blocks.push(block));
  }

  #openList(token: Token): void {
    const ordered = token.type === 'ordered_list_open';
    const list: Block & { kind: 'list' } = { kind: 'list', ordered, start: Number(token.attrGet('start') ?? 1), items: [] };
    if (this.#containers.length < kDeepest) this.#add(list, token);
    this.#lists.push(list);
  }

  #openItem(): void {
    if (this.#containers.length >= kDeepest) {
      this.#containers.push(this.#container);
      return;
    }
    const item: Item = { checked: null, blocks: [] };
    this.#lists.at(-1)?.items.push(item);
    this.#containers.push((block) => item.blocks.push(block));
  }

  #closeItem(): void {
    this.#containers.pop();
    const item = this.#lists.at(-1)?.items.at(-1);
    if (item !== undefined) markTask(item);
  }
}

/** Turns `[x] text` at the beginning of an item into a mark. */
function markTask(item: Item): void {
  const first = item.blocks[0];
  if (first?.kind !== 'plain' && first?.kind !== 'paragraph') return;
  const text = first.inlines[0];
  const mark = text?.kind === 'text' ? /^\[([ xX])\] /.exec(text.text) : null;
  if (text?.kind !== 'text' || mark === null) return;
  item.checked = mark[1] !== ' ';
  text.text = text.text.slice(mark[0].length);
}

/** What stands in a paragraph, heading or cell. */
function toInlines(tokens: Token[]): Inline[] {
  const root: Inline[] = [];
  const open: Inline[][] = [root];
  for (const token of tokens) {
    const into = open.at(-1) as Inline[];
    if (token.nesting < 0) {
      if (open.length > 1) open.pop();
      continue;
    }
    const inline = toInline(token);
    if (token.nesting === 0) {
      if (inline !== null) into.push(inline);
      continue;
    }
    const wraps = inline !== null && 'inlines' in inline && open.length < kDeepest;
    if (wraps) into.push(inline);
    open.push(wraps ? inline.inlines : into);
  }
  return root;
}

function toInline(token: Token): Inline | null {
  switch (token.type) {
    case 'strong_open':
      return { kind: 'strong', inlines: [] };
    case 'em_open':
      return { kind: 'emphasis', inlines: [] };
    case 's_open':
      return { kind: 'deleted', inlines: [] };
    case 'link_open':
      return toLink(token.attrGet('href'), []);
    case 'image': {
      // Never loaded: the address of a picture can carry what was said to another host.
      const words: Inline = { kind: 'text', text: `[image: ${token.content || 'untitled'}]` };
      return toLink(token.attrGet('src'), [words]) ?? words;
    }
    case 'code_inline':
      return { kind: 'code', text: token.content };
    case 'hardbreak':
      return { kind: 'break' };
    case 'softbreak':
      return { kind: 'text', text: '\n' };
    default:
      return token.content === '' ? null : { kind: 'text', text: token.content };
  }
}

function toLink(href: string | number | null, inlines: Inline[]): (Inline & { kind: 'link' }) | null {
  const target = href === null ? null : safeTarget(String(href));
  return target === null ? null : { kind: 'link', ...target, inlines };
}

/** `<br>` is how a table's cell gets a second line. */
function withBreaks(inlines: Inline[]): Inline[] {
  return inlines.flatMap((inline) => {
    if (inline.kind !== 'text') return [inline];
    const lines = inline.text.split(/<br ?\/?>/i).map((text): Inline => ({ kind: 'text', text }));
    return lines.flatMap((line, index) => (index === 0 ? [line] : [{ kind: 'break' } as const, line]));
  });
}

function alignOf(cell: Token): Align {
  const align = /text-align:(center|right)/.exec(String(cell.attrGet('style')))?.[1];
  return align === 'center' || align === 'right' ? align : 'left';
}

function languageOf(info: string): string {
  return /^[\w+#.-]{1,24}/.exec(info.trim())?.[0] ?? '';
}
