import { existsSync } from 'node:fs';
import { chromium, type Browser, type BrowserContextOptions, type Locator, type Page } from 'playwright-core';
import { FakeServer } from './fake_server.ts';

const kFakeKey = 'sk-of-the-fake-server';
const kBrowsers = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The browser of the tests: HADAL_CHROMIUM, else one of the usual places; null: there is none. */
export function findBrowser(): string | null {
  return [process.env.HADAL_CHROMIUM ?? '', ...kBrowsers].find((path) => path !== '' && existsSync(path)) ?? null;
}

/** The server under test: HADAL_PAGE_URL with HADAL_PAGE_KEY, else a fake one with the page of the folder HADAL_PAGE. */
export interface Target {
  url: string;
  /** Empty: the server takes no keys. */
  key: string;
  /** Null: a real server. */
  fake: FakeServer | null;
}

export async function openTarget(): Promise<Target> {
  const url = process.env.HADAL_PAGE_URL;
  if (url !== undefined) return { url: new URL('/', url).href, key: process.env.HADAL_PAGE_KEY ?? '', fake: null };
  const fake = new FakeServer(process.env.HADAL_PAGE ?? 'dist', 'page_headers.json', kFakeKey);
  return { url: await fake.listen(), key: kFakeKey, fake };
}

export async function openBrowser(): Promise<Browser> {
  // Root has no sandbox of its own here; a name that is not this machine's must not even be asked for.
  const args = ['--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost'];
  return chromium.launch({ executablePath: findBrowser() ?? '', chromiumSandbox: process.getuid?.() !== 0, args });
}

/** The page in a fresh profile, and what happens in it that must not. */
export class OpenPage {
  /** Requests to another origin, errors of the console, breaches of the policy, dialogs: a good page has none. */
  readonly faults: string[] = [];

  private constructor(
    readonly page: Page,
    readonly target: Target,
  ) {}

  static async open(browser: Browser, target: Target, options: BrowserContextOptions & { key?: string } = {}): Promise<OpenPage> {
    const context = await browser.newContext({ viewport: { width: 1000, height: 800 }, ...options });
    context.setDefaultTimeout(20_000);
    const open = new OpenPage(await context.newPage(), target);
    await open.#watch();
    const key = options.key ?? target.key;
    await open.page.addInitScript((value) => sessionStorage.setItem('hadal.key', value), key);
    await open.page.goto(target.url);
    return open;
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }

  get input(): Locator {
    return this.page.getByRole('textbox', { name: 'Message' });
  }
  get answers(): Locator {
    return this.page.locator('.answer');
  }
  get lastAnswer(): Locator {
    return this.answers.last();
  }
  button(name: string): Locator {
    return this.page.getByRole('button', { name, exact: true });
  }

  async send(text: string): Promise<void> {
    await this.input.fill(text);
    await this.input.press('Enter');
  }

  /** Sends, and waits for the end of the answer. */
  async ask(text: string): Promise<void> {
    await this.send(text);
    await this.ended();
  }

  async ended(): Promise<void> {
    await this.page.locator('.answer[aria-busy="false"]').last().waitFor();
    await this.button('Send').waitFor();
  }

  /** Plays this text as the whole answer to the next requests, in place of the server. */
  async script(content: string, reasoning = ''): Promise<void> {
    const chunk = (delta: object, finish: string | null): string =>
      `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
    // In small pieces, so that each state of a growing text passes through the page.
    const pieces = content.match(/[^]{1,40}/g) ?? [];
    const stream =
      chunk({ role: 'assistant', content: null, reasoning_content: reasoning }, null) +
      pieces.map((piece) => chunk({ content: piece }, null)).join('') +
      chunk({ content: '' }, 'stop') +
      'data: [DONE]\n\n';
    await this.page.route('**/v1/chat/completions', (route) =>
      route.fulfill({ status: 200, contentType: 'text/event-stream; charset=utf-8', body: stream }),
    );
  }

  /** Changes the bodies of the next requests. */
  async amend(change: (body: Record<string, unknown>) => Record<string, unknown>): Promise<void> {
    await this.page.route('**/v1/chat/completions', (route) =>
      route.continue({ postData: JSON.stringify(change(route.request().postDataJSON() as Record<string, unknown>)) }),
    );
  }

  async #watch(): Promise<void> {
    const { page, faults } = this;
    const origin = new URL(this.target.url).origin;
    page.context().on('request', (request) => {
      if (new URL(request.url()).origin !== origin) faults.push(`request to ${request.url()}`);
    });
    page.on('dialog', (dialog) => {
      faults.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
    page.on('console', (message) => {
      // The browser logs every refused request by itself; the tests of errors ask for them.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) faults.push(message.text());
    });
    await page.exposeFunction('hadalBreach', (what: string) => faults.push(`policy: ${what}`));
    await page.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) => {
        (window as unknown as { hadalBreach: (what: string) => void }).hadalBreach(
          `${event.violatedDirective} ${event.blockedURI}`,
        );
      });
    });
  }
}
