import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

const root = dirname(new URL(import.meta.url).pathname);

/** The tests of a folder and what is run beside them, as programs of Node. */
const programs = ['unit', 'browser'].flatMap((folder) =>
  readdirSync(join(root, 'tests', folder))
    .filter((file) => /^(\w+\.test|screenshots)\.ts$/.test(file))
    .map((file) => [`${folder}/${file.replace(/\.ts$/, '')}`, join(root, 'tests', folder, file)]),
);

export default defineConfig({
  root,
  plugins: [svelte()],
  // The packages of the page are made for browsers: they are bundled for Node like the page's own code.
  ssr: { noExternal: ['markdown-it'] },
  build: {
    ssr: true,
    outDir: 'dist-tests',
    target: 'node18',
    minify: false,
    reportCompressedSize: false,
    rollupOptions: { input: Object.fromEntries(programs) },
  },
});
