import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import type { Browser, BrowserContextOptions } from 'playwright-core';
import { kXssVectors } from '../xss_vectors.ts';
import { findBrowser, openBrowser, OpenPage, openTarget, type Target } from './open_page.ts';

const skip = findBrowser() === null ? 'there is no Chromium: install the package chromium' : false;

let target: Target;
let browser: Browser;
let open: OpenPage;

before(async () => {
  if (skip) return;
  target = await openTarget();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  target?.fake?.close();
});

beforeEach(async () => {
  if (!skip) open = await OpenPage.open(browser, target);
});

afterEach(async () => {
  if (skip) return;
  const { faults } = open;
  await open.close();
  assert.deepEqual(faults, []);
});

/** The page once more, in a profile of its own. */
async function reopen(options: BrowserContextOptions & { key?: string }): Promise<void> {
  await open.close();
  open = await OpenPage.open(browser, target, options);
}

test('the page comes with its headers, and lists the models', { skip }, async () => {
  const answer = await open.page.request.get(target.url);
  const expected = JSON.parse(readFileSync('page_headers.json', 'utf8')) as Record<string, string>;
  for (const [name, value] of Object.entries(expected)) assert.equal(answer.headers()[name.toLowerCase()], value, name);
  assert.match(answer.headers()['content-type'] ?? '', /^text\/html; *charset=utf-8$/i);
  await open.page.locator('select.model option').first().waitFor({ state: 'attached' });
  assert.notEqual(await open.page.getByRole('combobox', { name: 'Model' }).inputValue(), '');
});

test('an answer streams in, and ends with its figures', { skip }, async () => {
  await open.amend((body) => ({ ...body, max_tokens: 200, min_tokens: 20 }));
  await open.page.evaluate(() => {
    const lengths: number[] = [];
    Object.assign(window, { lengths });
    new MutationObserver(() => {
      const length = document.querySelector('.answer')?.textContent?.length ?? 0;
      if (length !== lengths.at(-1)) lengths.push(length);
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  await open.ask('Say a few words about the sea.');
  const lengths = await open.page.evaluate(() => (window as unknown as { lengths: number[] }).lengths);
  assert.ok(lengths.length >= 4, `the answer grew in ${lengths.length} steps`);
  const figures = await open.lastAnswer.locator('.figure').allTextContents();
  assert.match(figures[0] ?? '', /^[1-9][\d,]* tokens( \([1-9][\d,]* reasoning\))?$/);
  assert.match(figures[1] ?? '', /^[1-9][\d,]* prompt tokens( \([\d,]+ cached\))?$/);
  assert.match(figures[2] ?? '', /^first token \d+\.\d+ s$/);
  assert.match(figures[3] ?? '', /^[\d.,]+ tokens\/s$/);
  assert.equal(await open.lastAnswer.locator('.error').count(), 0);
});

test('what the request says', { skip }, async () => {
  await open.button('Settings').click();
  await open.page.getByLabel('System prompt').fill('Be brief.');
  await open.page.getByLabel('Temperature').fill('0.25');
  await open.page.getByLabel('Top p').fill('0.5');
  await open.page.getByLabel('Max tokens').fill('16');
  await open.page.getByLabel('Seed').fill('42');
  await open.page.getByRole('combobox', { name: 'Thinking' }).selectOption('off');
  const sent = open.page.waitForRequest('**/v1/chat/completions');
  await open.ask('Hello');
  const request = await sent;
  assert.equal(request.headers().authorization, target.key === '' ? undefined : `Bearer ${target.key}`);
  assert.deepEqual(request.postDataJSON(), {
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hello' },
    ],
    stream: true,
    stream_options: { include_usage: true },
    return_progress: true,
    model: await open.page.getByRole('combobox', { name: 'Model' }).inputValue(),
    thinking: { type: 'disabled' },
    temperature: 0.25,
    top_p: 0.5,
    max_tokens: 16,
    seed: 42,
  });
  assert.equal(await open.lastAnswer.locator('.error').count(), 0);
  assert.equal(await open.lastAnswer.locator('.reasoning').count(), 0);
});

test('a wrong field is told beside it, and nothing is sent', { skip }, async () => {
  await open.button('Settings').click();
  await open.page.getByLabel('Temperature').fill('3');
  assert.equal(await open.page.locator('#temperature-problem').textContent(), 'A number from 0 to 2.');
  await open.send('Hello');
  assert.equal(await open.answers.count(), 0);
  assert.equal(await open.button('Send').isDisabled(), true);
  await open.button('Reset to defaults').click();
  assert.equal(await open.button('Send').isDisabled(), false);
});

test('stop ends the answer and keeps what had come', { skip }, async () => {
  await open.amend((body) => ({ ...body, max_tokens: 4000, ignore_eos: true, thinking: { type: 'disabled' } }));
  await open.send('long: count as far as you can');
  await open.page.waitForFunction(() => (document.querySelector('.answer .markdown')?.textContent?.length ?? 0) > 20);
  await open.button('Stop').click();
  await open.ended();
  assert.equal(await open.lastAnswer.locator('.end-note').textContent(), 'Stopped.');
  const kept = await open.lastAnswer.locator('.markdown').textContent();
  assert.ok((kept?.length ?? 0) > 20);
  // Another question is answered at once.
  await open.page.unroute('**/v1/chat/completions');
  await open.amend((body) => ({ ...body, max_tokens: 8 }));
  await open.ask('Hello');
  assert.equal(await open.lastAnswer.locator('.error').count(), 0);
  assert.equal(await open.answers.count(), 2);
});

test('the escape key stops, and the server learns of it', { skip }, async () => {
  await open.amend((body) => ({ ...body, max_tokens: 4000, ignore_eos: true, thinking: { type: 'disabled' } }));
  const left = target.fake?.left ?? 0;
  await open.send('long');
  await open.page.waitForFunction(() => (document.querySelector('.answer .markdown')?.textContent?.length ?? 0) > 5);
  await open.page.keyboard.press('Escape');
  await open.ended();
  assert.equal(await open.lastAnswer.locator('.end-note').textContent(), 'Stopped.');
  if (target.fake === null) return;
  for (let tries = 0; tries < 100 && target.fake.left === left; tries++) await open.page.waitForTimeout(20);
  assert.equal(target.fake.left, left + 1);
});

test('the conversation, the draft and the settings survive a reload; the key does not leave the tab', { skip }, async () => {
  await open.amend((body) => ({ ...body, max_tokens: 8 }));
  await open.ask('Remember **this**');
  const answer = await open.lastAnswer.locator('.markdown').innerHTML();
  await open.input.fill('half a thought');
  await open.button('Settings').click();
  await open.page.getByLabel('Seed').fill('7');
  await open.page.reload();
  assert.equal(await open.page.locator('.question-text').textContent(), 'Remember **this**');
  assert.equal(await open.lastAnswer.locator('.markdown').innerHTML(), answer);
  assert.equal(await open.input.inputValue(), 'half a thought');
  await open.button('Settings').click();
  assert.equal(await open.page.getByLabel('Seed').inputValue(), '7');
  const stored = await open.page.evaluate(() => JSON.stringify(localStorage));
  assert.equal(target.key !== '' && stored.includes(target.key), false);
});

test('a reload in the middle keeps what had come', { skip }, async () => {
  await open.amend((body) => ({ ...body, max_tokens: 4000, ignore_eos: true, thinking: { type: 'disabled' } }));
  await open.send('long');
  await open.page.waitForFunction(() => (document.querySelector('.answer .markdown')?.textContent?.length ?? 0) > 20);
  await open.page.reload();
  assert.equal(await open.lastAnswer.locator('.end-note').textContent(), 'Stopped.');
  assert.ok(((await open.lastAnswer.locator('.markdown').textContent())?.length ?? 0) > 20);
});

test('a new chat leaves nothing behind', { skip }, async () => {
  await open.script('An answer.');
  await open.ask('A secret question');
  await open.button('New chat').click();
  assert.equal(await open.answers.count(), 0);
  assert.equal(await open.page.evaluate(() => JSON.stringify(localStorage).includes('secret')), false);
  await open.page.reload();
  assert.equal(await open.answers.count(), 0);
});

test('regenerate asks the same again and replaces the answer', { skip }, async () => {
  await open.script('first');
  await open.ask('Question');
  await open.page.unroute('**/v1/chat/completions');
  await open.script('second');
  const sent = open.page.waitForRequest('**/v1/chat/completions');
  await open.button('Regenerate').click();
  const { messages } = (await sent).postDataJSON() as { messages: unknown };
  await open.page.getByText('second').waitFor();
  assert.deepEqual(messages, [{ role: 'user', content: 'Question' }]);
  assert.equal(await open.answers.count(), 1);
});

test('an edited message replaces what follows it', { skip }, async () => {
  await open.script('answer');
  await open.ask('one');
  await open.ask('two');
  await open.button('Edit').first().click();
  assert.equal(await open.input.inputValue(), 'one');
  const sent = open.page.waitForRequest('**/v1/chat/completions');
  await open.ask('one, changed');
  assert.deepEqual(((await sent).postDataJSON() as { messages: unknown }).messages, [{ role: 'user', content: 'one, changed' }]);
  assert.deepEqual(await open.page.locator('.question-text').allTextContents(), ['one, changed']);
});

test('reasoning is folded, opens, and goes back to the server with its answer', { skip }, async () => {
  await open.script('The answer.', 'First this,\nthen <b>that</b>.');
  await open.ask('one');
  const reasoning = open.lastAnswer.locator('.reasoning');
  assert.match((await reasoning.locator('.title').textContent()) ?? '', /^Thought for \d+\.\d\d s$/);
  assert.equal(await reasoning.locator('.reasoning-text').isVisible(), false);
  await reasoning.locator('summary').click();
  assert.equal(await reasoning.locator('.reasoning-text').textContent(), 'First this,\nthen <b>that</b>.');
  assert.equal(await reasoning.locator('.reasoning-text').isVisible(), true);
  const sent = open.page.waitForRequest('**/v1/chat/completions');
  await open.ask('two');
  assert.deepEqual(((await sent).postDataJSON() as { messages: unknown[] }).messages[1], {
    role: 'assistant',
    content: 'The answer.',
    reasoning_content: 'First this,\nthen <b>that</b>.',
  });
});

test('nothing that a model writes runs, loads or leads astray', { skip }, async () => {
  const allowed = 'P SPAN DIV H3 H4 H5 H6 FIGURE FIGCAPTION PRE CODE BLOCKQUOTE UL OL LI TABLE TBODY TR TH TD HR BR EM STRONG DEL A BUTTON';
  const attributes = 'class dir tabindex start role aria-label title href target rel type';
  await open.script(kXssVectors.join('\n\n'), kXssVectors.join('\n'));
  await open.ask(kXssVectors.join('\n'));
  await open.page.unroute('**/v1/chat/completions');
  for (const [index, vector] of kXssVectors.entries()) {
    await open.page.evaluate(
      ([id, content]) => {
        const stored = JSON.parse(localStorage.getItem('hadal.conversation') ?? '{}') as { messages: unknown[] };
        stored.messages.push({ role: 'assistant', id, content, reasoning: content, outcome: 'complete', finish: content, error: content });
        localStorage.setItem('hadal.conversation', JSON.stringify(stored));
        // The page saves what it shows when it is left; here it must load what was put in.
        window.addEventListener('pagehide', (event) => event.stopImmediatePropagation(), { capture: true });
      },
      [index, vector] as const,
    );
  }
  const stored = await open.page.evaluate(() => localStorage.getItem('hadal.conversation') ?? '');
  await open.page.evaluate(() => localStorage.clear());
  await open.page.addInitScript((value) => localStorage.setItem('hadal.conversation', value), stored);
  await open.page.reload();
  assert.equal(await open.answers.count(), kXssVectors.length + 1);
  for (const link of await open.page.locator('.markdown a').all()) await link.dispatchEvent('mouseover');
  const strange = await open.page.evaluate(
    ([tags, names]) => {
      const found: string[] = [];
      for (const element of document.querySelectorAll('.markdown *, .question-text *, .reasoning-text *, .error *')) {
        if (!tags.includes(element.tagName)) found.push(element.outerHTML);
        for (const attribute of element.attributes) if (!names.includes(attribute.name)) found.push(element.outerHTML);
        if (element instanceof HTMLAnchorElement && !/^(https?|mailto):$/.test(element.protocol)) found.push(element.outerHTML);
        if (element instanceof HTMLAnchorElement && element.rel !== 'noopener noreferrer nofollow') found.push(element.outerHTML);
      }
      return found;
    },
    [allowed.split(' '), attributes.split(' ')] as const,
  );
  assert.deepEqual(strange, []);
  assert.equal(await open.page.evaluate(() => 'hadalInjected' in window), false);
  assert.equal(new URL(open.page.url()).origin, new URL(target.url).origin);
});

test('the policy stops a script, were one to get in', { skip }, async () => {
  const errors = await open.page.evaluate(() => {
    const thrown: string[] = [];
    const attempt = (what: () => void): void => {
      try {
        what();
      } catch (error) {
        thrown.push((error as Error).name);
      }
    };
    attempt(() => (document.body.innerHTML += '<img src=x onerror="window.hadalInjected=1">'));
    const script = document.createElement('script');
    attempt(() => (script.text = 'window.hadalInjected=1'));
    attempt(() => (script.src = 'https://away.invalid/x.js'));
    attempt(() => setTimeout('window.hadalInjected=1'));
    return thrown;
  });
  assert.deepEqual(errors, ['TypeError', 'TypeError', 'TypeError', 'TypeError']);
  await open.page.evaluate(() => {
    const button = document.createElement('button');
    document.body.append(button);
    try {
      button.setAttribute('onclick', 'window.hadalInjected=1');
    } catch {
      // Refused already here by newer browsers.
    }
    button.click();
  });
  assert.equal(await open.page.evaluate(() => 'hadalInjected' in window), false);
  open.faults.length = 0; // these breaches were made on purpose
});

test('an error of the server is a sentence, and the question can be tried again', { skip }, async () => {
  await open.amend((body) => ({ ...body, model: 'no-such-model' }));
  await open.ask('Hello');
  assert.match((await open.lastAnswer.locator('.error').textContent()) ?? '', /no-such-model/);
  await open.page.unroute('**/v1/chat/completions');
  await open.script('Now it works.');
  await open.button('Try again').click();
  await open.page.getByText('Now it works.').waitFor();
  assert.equal(await open.answers.count(), 1);
});

test('a server that is gone', { skip }, async () => {
  await open.page.route('**/v1/**', (route) => route.abort('connectionrefused'));
  await open.ask('Hello');
  assert.equal(await open.lastAnswer.locator('.error').textContent(), 'The server cannot be reached. Check that it is running.');
  await open.page.reload();
  const banner = open.page.locator('.banner');
  await banner.waitFor();
  assert.match((await banner.textContent()) ?? '', /The server cannot be reached/);
  // It comes back by itself.
  await open.page.unroute('**/v1/**');
  await banner.waitFor({ state: 'detached' });
  assert.equal(await open.page.locator('select.model option').count() > 0, true);
});

test('a wrong key', { skip }, async (context) => {
  if (target.key === '') return context.skip('the server takes no keys; give one in HADAL_PAGE_KEY');
  await reopen({ key: 'sk-wrong' });
  await open.page.locator('.banner').waitFor();
  assert.match((await open.page.locator('.banner').textContent()) ?? '', /^\s*The API key is missing or not accepted/);
  await open.ask('Hello');
  assert.match((await open.lastAnswer.locator('.error').textContent()) ?? '', /^The API key is missing or not accepted/);
  await open.page.getByLabel('API key').fill(target.key);
  await open.button('Use').click();
  await open.page.locator('.banner').waitFor({ state: 'detached' });
  await open.amend((body) => ({ ...body, max_tokens: 8 }));
  await open.button('Try again').click();
  await open.page.locator('.answer .figure').first().waitFor();
  assert.equal(await open.lastAnswer.locator('.error').count(), 0);
});

test('failures in the middle of a stream keep the text', { skip }, async (context) => {
  if (target.fake === null) return context.skip('a real server does not fail on demand');
  await open.ask('fail');
  assert.equal(await open.lastAnswer.locator('.error').textContent(), 'The engine ran out of memory.');
  assert.match((await open.lastAnswer.locator('.markdown').textContent()) ?? '', /^You wrote: fail/);
  await open.ask('break');
  assert.match((await open.lastAnswer.locator('.error').textContent()) ?? '', /^The connection to the server broke/);
  assert.match((await open.lastAnswer.locator('.markdown').textContent()) ?? '', /^You wrote: break/);
  await open.ask('busy');
  assert.equal(await open.lastAnswer.locator('.error').textContent(), 'The queue is full. Try again in 4 s.');
});

test('progress of the prompt, then live reasoning, then the answer', { skip }, async (context) => {
  if (target.fake === null) return context.skip('how long a real server reads and thinks is not known');
  await open.send('think');
  await open.page.getByText('Reading the prompt: 2,048 of 4,096 tokens').waitFor();
  await open.page.locator('.reasoning .preview', { hasText: '用户' }).waitFor();
  await open.ended();
  assert.match((await open.lastAnswer.locator('.reasoning .title').textContent()) ?? '', /^Thought for [1-9]\d*\.\d+ s$/);
  assert.equal(await open.lastAnswer.locator('.markdown strong').textContent(), 'think');
  assert.equal(await open.lastAnswer.locator('.markdown pre').textContent(), 'int x = 1;');
  assert.equal(await open.lastAnswer.locator('.figure').first().textContent(), '109 tokens (100 reasoning)');
});

test('the keyboard alone is enough, and an input method keeps its Enter', { skip }, async () => {
  await open.script('Typed answer.');
  // The input has the focus from the start.
  await open.page.keyboard.type('line one');
  await open.page.keyboard.press('Shift+Enter');
  await open.page.keyboard.type('line two');
  await open.input.dispatchEvent('keydown', { key: 'Enter', isComposing: true });
  assert.equal(await open.answers.count(), 0);
  await open.page.keyboard.press('Enter');
  await open.page.getByText('Typed answer.').waitFor();
  assert.equal(await open.page.locator('.question-text').textContent(), 'line one\nline two');
  await open.page.locator('.log').click();
  await open.page.keyboard.press('/');
  assert.equal(await open.input.evaluate((element) => element === document.activeElement), true);
  assert.equal(await open.page.getByRole('status').textContent(), 'The answer is complete.');
});

test('every control has a name', { skip }, async () => {
  await open.script('```js\ncode\n```', 'thought');
  await open.ask('Hello');
  await open.button('Settings').click();
  const nameless = await open.page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>('button, input, select, textarea, summary, a')]
      .filter((element) => {
        const labels = 'labels' in element ? (element.labels as NodeList | null)?.length : 0;
        return !element.ariaLabel && !labels && !element.textContent?.trim();
      })
      .map((element) => element.outerHTML),
  );
  assert.deepEqual(nameless, []);
});

test('a narrow screen holds everything', { skip }, async () => {
  await reopen({ viewport: { width: 360, height: 640 } });
  await open.script(`${'word'.repeat(60)}\n\n\`\`\`\n${'code '.repeat(60)}\n\`\`\`\n\n| ${'cell | '.repeat(12)}\n|${'-|'.repeat(12)}`);
  await open.ask('x'.repeat(300));
  for (const settings of [false, true]) {
    if (settings) await open.button('Settings').click();
    const overflow = await open.page.evaluate(() => {
      const log = document.querySelector('.log') as HTMLElement;
      return [document.documentElement.scrollWidth - innerWidth, log.scrollWidth - log.clientWidth];
    });
    assert.deepEqual(overflow, [0, 0]);
  }
});

test('the text stays where the user reads while an answer arrives', { skip }, async () => {
  await open.script(Array.from({ length: 120 }, (_, line) => `Line ${line}\n\n`).join(''));
  await open.ask('one');
  const fromEnd = (): Promise<number> =>
    open.page.evaluate(() => {
      const log = document.querySelector('.log') as HTMLElement;
      return Math.round(log.scrollHeight - log.scrollTop - log.clientHeight);
    });
  assert.ok((await fromEnd()) < 48);
  await open.page.evaluate(() => document.querySelector('.log')?.scrollTo(0, 100));
  await open.page.waitForTimeout(100);
  await open.ask('two');
  assert.equal(await open.page.evaluate(() => document.querySelector('.log')?.scrollTop), 100);
});
