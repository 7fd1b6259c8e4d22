// `hadal serve` as a process of a test, and OpenAI's client for it.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import OpenAI from 'openai';

const program = process.env.HADAL_PROGRAM;
if (!program) throw new Error('HADAL_PROGRAM names no program; set it to the path of hadal');

export const kModel = 'hadal-nano';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** A folder that the test `t` loses at its end. */
export function temporaryFolder(t) {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-clients-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A file with the answers that a server plays, one after the other. */
export function scriptFile(t, answers) {
  const path = join(temporaryFolder(t), 'script');
  writeFileSync(path, answers.map((answer) => `${JSON.stringify(answer)}\n`).join(''));
  return path;
}

/** Starts a server on a free port and waits until it serves; `t` ends it at the latest. */
export async function startServer(t, args = []) {
  const child = spawn(program, ['serve', '--port', '0', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let said = '';
  let complaints = '';
  child.stderr.on('data', (bytes) => (complaints += bytes));
  const ended = new Promise((resolve) => {
    child.on('exit', (code, signal) => {
      running.delete(child);
      resolve(signal ?? code);
    });
  });
  const port = await new Promise((resolve, reject) => {
    child.stdout.on('data', (bytes) => {
      said += bytes;
      const match = /127\.0\.0\.1:(\d+)/.exec(said);
      if (match) resolve(Number(match[1]));
    });
    ended.then((how) => reject(new Error(`hadal serve ended (${how}): ${complaints}`)));
  });
  const server = {
    url: `http://127.0.0.1:${port}`,
    /** What it wrote to its log so far. */
    log: () => complaints,
    /** Ends it; its exit code, or the name of the signal that ended it. */
    stop(signal = 'SIGTERM') {
      child.kill(signal);
      return ended;
    },
  };
  t.after(() => server.stop('SIGKILL'));
  return server;
}

/** A client that repeats nothing by itself. */
export function clientOf(server, options = {}) {
  return new OpenAI({ apiKey: 'none', baseURL: `${server.url}/v1`, maxRetries: 0, ...options });
}
