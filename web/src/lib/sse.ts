/** An event longer than this is no event of a chat: the reading ends with an error. In UTF-16 units. */
export const kLongestEvent = 16 * 1024 * 1024;

/**
 * Reads server-sent events out of a byte stream that may be cut anywhere, inside a character too.
 * Lines end with LF, CR LF or CR; comments and all fields but `data` are skipped; an event that the end of the stream
 * cuts off is dropped. Source: the event stream format of the HTML standard, section 9.2.6.
 */
export class SseParser {
  #decoder = new TextDecoder();
  #partial = '';
  #afterCarriageReturn = false;
  #data: string[] = [];
  #dataLength = 0;

  /** The data of the events that this chunk completes, in order. */
  push(chunk: Uint8Array): string[] {
    const text = this.#decoder.decode(chunk, { stream: true });
    const events: string[] = [];
    if (text === '') return events;
    const lineEnd = /\r\n|\r|\n/g;
    // The LF of a CR LF that was cut in two ends no line of its own.
    let begin = this.#afterCarriageReturn && text.startsWith('\n') ? 1 : 0;
    lineEnd.lastIndex = begin;
    for (let match = lineEnd.exec(text); match !== null; match = lineEnd.exec(text)) {
      const line = this.#partial + text.slice(begin, match.index);
      this.#partial = '';
      begin = lineEnd.lastIndex;
      this.#takeLine(line, events);
    }
    this.#afterCarriageReturn = text.endsWith('\r');
    this.#partial += text.slice(begin);
    if (this.#partial.length + this.#dataLength > kLongestEvent) throw new RangeError('an event is too long');
    return events;
  }

  #takeLine(line: string, events: string[]): void {
    if (line === '') {
      if (this.#data.length > 0) events.push(this.#data.join('\n'));
      this.#data = [];
      this.#dataLength = 0;
      return;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    if (field !== 'data') return;
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    this.#data.push(value);
    this.#dataLength += value.length;
  }
}
