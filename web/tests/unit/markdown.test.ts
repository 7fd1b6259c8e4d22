import assert from 'node:assert/strict';
import { test } from 'node:test';
import { render } from 'svelte/server';
import { safeTarget } from '../../src/lib/links.ts';
import { GrowingMarkdown, parseMarkdown, type Block } from '../../src/lib/markdown.ts';
import Blocks from '../../src/parts/Blocks.svelte';
import { kXssVectors } from '../xss_vectors.ts';

/** The page's HTML of a text, without the marks that the framework puts between elements. */
function html(text: string): string {
  return render(Blocks, { props: { blocks: parseMarkdown(text) } }).body.replace(/<!--.*?-->/g, '');
}

const text = (value: string) => ({ kind: 'text', text: value }) as const;

const kPlainTags = 'p|span|h[3-6]|figure|figcaption|pre|code|blockquote|ul|ol|li|div|table|tbody|tr|th|td|hr|br|em|strong|del';
const kPlainAttributes = / (?:class|dir|tabindex|start|role|aria-label)="[^"<>]*"/.source;
const kTag = new RegExp(`^</?(?:${kPlainTags})(?:${kPlainAttributes})*/?>$`);
const kLink =
  /^<a href="(?:https?:\/\/|mailto:)[^"<>]*" title="[^"<>]*" target="_blank" rel="noopener noreferrer nofollow">$/;

test('no vector brings an element, an attribute or a scheme that is not ours', () => {
  assert.ok(kXssVectors.length >= 60);
  for (const vector of kXssVectors) {
    for (const tag of html(vector).match(/<[^>]*>?/g) ?? []) {
      assert.ok(kTag.test(tag) || kLink.test(tag) || tag === '</a>', `${vector}\nbecame ${tag}`);
    }
  }
});

test('the same with all vectors in one text, which grows letter by letter', () => {
  const whole = kXssVectors.join('\n\n');
  for (const growing of [whole.slice(0, 2000), whole]) {
    const markdown = new GrowingMarkdown();
    for (let length = 0; length < growing.length; length += growing.length > 2000 ? 97 : 1) {
      const blocks = markdown.update(growing.slice(0, length), false);
      if (length % 13 !== 0) continue;
      const body = render(Blocks, { props: { blocks } }).body.replace(/<!--.*?-->/g, '');
      for (const tag of body.match(/<[^>]*>?/g) ?? []) {
        assert.ok(kTag.test(tag) || kLink.test(tag) || tag === '</a>', `at ${length}: ${tag}`);
      }
    }
  }
});

test('HTML is shown as it was typed', () => {
  assert.deepEqual(parseMarkdown('a <b>c</b>'), [
    { kind: 'paragraph', inlines: [text('a <b>c</b>')] },
  ]);
  assert.equal(html('<div>x</div>'), '<p dir="auto">&lt;div>x&lt;/div></p>');
});

test('blocks', () => {
  assert.deepEqual(parseMarkdown('# A\n\nb **c** _d_ ~~e~~ `f<g`  \nh\n\n---'), [
    { kind: 'heading', level: 1, inlines: [text('A')] },
    {
      kind: 'paragraph',
      inlines: [
        text('b '),
        { kind: 'strong', inlines: [text('c')] },
        text(' '),
        { kind: 'emphasis', inlines: [text('d')] },
        text(' '),
        { kind: 'deleted', inlines: [text('e')] },
        text(' '),
        { kind: 'code', text: 'f<g' },
        { kind: 'break' },
        text('h'),
      ],
    },
    { kind: 'rule' },
  ]);
});

test('code keeps every character, and a fence that is still open is code already', () => {
  const expected: Block[] = [{ kind: 'code', language: 'c++', text: 'a &amp; <b>\n  c' }];
  assert.deepEqual(parseMarkdown('```c++ title="x"\na &amp; <b>\n  c\n```'), expected);
  assert.deepEqual(parseMarkdown('```c++\na &amp; <b>\n  c'), expected);
});

test('lists and tasks', () => {
  assert.deepEqual(parseMarkdown('3. a\n4. b\n   - [x] c\n   - [ ] d'), [
    {
      kind: 'list',
      ordered: true,
      start: 3,
      items: [
        { checked: null, blocks: [{ kind: 'plain', inlines: [text('a')] }] },
        {
          checked: null,
          blocks: [
            { kind: 'plain', inlines: [text('b')] },
            {
              kind: 'list',
              ordered: false,
              start: 1,
              items: [
                { checked: true, blocks: [{ kind: 'plain', inlines: [text('c')] }] },
                { checked: false, blocks: [{ kind: 'plain', inlines: [text('d')] }] },
              ],
            },
          ],
        },
      ],
    },
  ]);
});

test('tables', () => {
  assert.deepEqual(parseMarkdown('| a | b |\n| :-: | --: |\n| 1<br>2 | `c` |'), [
    {
      kind: 'table',
      rows: [
        [
          { align: 'center', inlines: [text('a')] },
          { align: 'right', inlines: [text('b')] },
        ],
        [
          { align: 'center', inlines: [text('1'), { kind: 'break' }, text('2')] },
          { align: 'right', inlines: [{ kind: 'code', text: 'c' }] },
        ],
      ],
    },
  ]);
});

test('links name where they lead, pictures are links', () => {
  const link = { kind: 'link', href: 'https://example.org/a?b=1&c=2', host: 'example.org' } as const;
  assert.deepEqual(parseMarkdown('[x](https://example.org/a?b=1&amp;c=2)'), [
    { kind: 'paragraph', inlines: [{ ...link, inlines: [text('x')] }] },
  ]);
  assert.deepEqual(parseMarkdown('[x](javascript:y)'), [{ kind: 'paragraph', inlines: [text('[x](javascript:y)')] }]);
  assert.deepEqual(parseMarkdown('![p](https://example.org/a?b=1&c=2)'), [
    { kind: 'paragraph', inlines: [{ ...link, inlines: [text('[image: p]')] }] },
  ]);
  assert.match(html('[x](https://example.org/)'), /<\/a> ?<span class="link-host">(?:&nbsp;|\u00a0)\(example\.org\)<\/span>/);
  assert.doesNotMatch(html('https://example.org/'), /link-host/);
});

test('targets of links', () => {
  assert.deepEqual(safeTarget('HTTPS://Example.org'), { href: 'https://example.org/', host: 'example.org' });
  assert.deepEqual(safeTarget('mailto:a@b.example'), { href: 'mailto:a@b.example', host: 'a@b.example' });
  assert.deepEqual(safeTarget('http://127.0.0.1:8000/x'), { href: 'http://127.0.0.1:8000/x', host: '127.0.0.1:8000' });
  for (const href of ['', 'x', '/x', '//x', '#x', 'javascript:x', 'data:,x', 'https://a@b/', 'ht\ntps://x', 'https:// x']) {
    assert.equal(safeTarget(href), null, href);
  }
});

test('character references', () => {
  const [paragraph] = parseMarkdown('&lt;&amp;amp;&#65;&#x1F642;&nbsp;&unknown;&#0; & `&lt;`');
  assert.deepEqual(paragraph, {
    kind: 'paragraph',
    inlines: [text('<&amp;A🙂\u00a0&unknown;\ufffd & '), { kind: 'code', text: '&lt;' }],
  });
});

const kDocument = `# Title

Some *text* with [a link](https://example.org) and \`code\`.
Second line
===

1. one

   more of one
2. two
   - deep
     > quoted

   \`\`\`
   fenced
   \`\`\`

| a | b |
|---|---|
| 1 | 2 |
after

> quote
goes on

***

- [ ] task

    code by indentation

<details>
<summary>x</summary>

end`;

test('a text that grows letter by letter ends as the whole, and shows all that has come', () => {
  const markdown = new GrowingMarkdown();
  for (let length = 0; length <= kDocument.length; length++) {
    const blocks = markdown.update(kDocument.slice(0, length), false);
    assert.deepEqual(blocks, parseMarkdown(kDocument.slice(0, length)), `after ${length} characters`);
  }
  assert.deepEqual(markdown.update(kDocument, true), parseMarkdown(kDocument));
});

test('a text that was replaced is parsed anew', () => {
  const markdown = new GrowingMarkdown();
  markdown.update('# a\n\nb\n\nc\n\nd', false);
  assert.deepEqual(markdown.update('x', false), parseMarkdown('x'));
});

test('blocks that are settled stay the same objects', () => {
  const markdown = new GrowingMarkdown();
  const before = markdown.update('a\n\nb\n\nc\n\nd', false);
  const after = markdown.update('a\n\nb\n\nc\n\nd e', false);
  assert.equal(before.length, 4);
  assert.equal(after[0], before[0]);
  assert.equal(after[1], before[1]);
  assert.deepEqual(after[3], { kind: 'paragraph', inlines: [text('d e')] });
});

test('line ends of other systems', () => {
  const markdown = new GrowingMarkdown();
  assert.deepEqual(markdown.update('# a\r\n\r\nb\r\n', false), parseMarkdown('# a\n\nb\n'));
  assert.deepEqual(parseMarkdown('# a\r\n\r\nb'), parseMarkdown('# a\n\nb'));
});

test('texts that nest without end are shown whole', () => {
  const long = 30000;
  for (const unit of ['> ', '- ', '1. ', '> - ', '**a ', '_a ', '[', '![', '[a](', '`', '\n> ', '|a', '~~a', '&', '<a ']) {
    const typed = unit.repeat(long / unit.length);
    const began = process.cpuUsage().user;
    const blocks = parseMarkdown(`${typed} end`);
    assert.match(render(Blocks, { props: { blocks } }).body, /end/, unit);
    // A parser whose time is the square of the length takes minutes.
    assert.ok(process.cpuUsage().user - began < 10e6, unit);
  }
  const nested = `${'**a _b '.repeat(2000)}${'_ **'.repeat(2000)}`;
  assert.doesNotThrow(() => render(Blocks, { props: { blocks: parseMarkdown(nested) } }));
  const deepList = Array.from({ length: 60 }, (_, depth) => `${'  '.repeat(depth)}- item ${depth}`).join('\n');
  assert.match(html(deepList), /item 59/);
});
