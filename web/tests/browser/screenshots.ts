// Writes pictures of the page, played by the fake server: page-light.png, page-dark.png, page-narrow.png.
// Usage: npm run screenshots -- FOLDER
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { findBrowser, openBrowser, OpenPage, openTarget } from './open_page.ts';

const kLargest = 150_000; // bytes of a picture
const kAnswer = `A **hadal** zone is what lies below 6,000 m of water, mostly in trenches.

| trench | depth | ocean |
| :-- | --: | :-- |
| Mariana | 10,935 m | Pacific |
| Puerto Rico | 8,376 m | Atlantic |

Pressure grows by one atmosphere every ten metres:

\`\`\`python
def atmospheres(depth_m: float) -> float:
    return 1 + depth_m / 10.06
\`\`\`

1. At the deepest place it is about *1,100 atmospheres*.
2. Some animals live there all the same, see [hadal snailfish](https://en.wikipedia.org/wiki/Mariana_snailfish).`;
const kReasoning = 'The user asks about the deepest part of the sea. Give depths in a table, and the rule for the pressure.';

const kViews = [
  { name: 'page-light', colorScheme: 'light', width: 1000, height: 860, settings: true },
  { name: 'page-dark', colorScheme: 'dark', width: 1000, height: 860, settings: false },
  { name: 'page-narrow', colorScheme: 'light', width: 390, height: 860, settings: false },
] as const;

const folder = process.argv[2];
if (folder === undefined || findBrowser() === null) {
  console.error('usage: npm run screenshots -- FOLDER   (needs Chromium: the package chromium)');
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
const target = await openTarget();
if (target.fake !== null) target.fake.words = { reasoning: kReasoning, content: kAnswer };
const browser = await openBrowser();
for (const { name, colorScheme, width, height, settings } of kViews) {
  const open = await OpenPage.open(browser, target, { viewport: { width, height }, colorScheme });
  await open.ask('How deep is the sea, and what does it weigh on what lives there?');
  if (settings) await open.button('Settings').click();
  const path = join(folder, `${name}.png`);
  await open.page.screenshot({ path });
  await open.close();
  if (statSync(path).size > kLargest) throw new Error(`${path} has ${statSync(path).size} bytes, more than ${kLargest}`);
}
await browser.close();
target.fake?.close();
