import type { Numbers } from './answer.ts';

const grouped = new Intl.NumberFormat('en-US');

export const formatCount = (count: number): string => grouped.format(count);

/** 850 -> "0.85 s", 12345 -> "12.3 s", 150000 -> "2 min 30 s". */
export function formatDuration(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 99.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Tokens a second between the first and the last text; null where that says nothing. */
export function tokensPerSecond(numbers: Numbers): number | null {
  const { completionTokens, writingMs } = numbers;
  if (completionTokens === null || writingMs === null || completionTokens < 2 || writingMs <= 0) return null;
  // The first token's time is that of the prompt.
  return ((completionTokens - 1) * 1000) / writingMs;
}

/** The figures below an answer, each a short phrase. */
export function describeNumbers(numbers: Numbers): string[] {
  const phrases: string[] = [];
  if (numbers.completionTokens !== null) {
    const reasoning = numbers.reasoningTokens ? ` (${formatCount(numbers.reasoningTokens)} reasoning)` : '';
    phrases.push(`${formatCount(numbers.completionTokens)} tokens${reasoning}`);
  }
  if (numbers.promptTokens !== null) {
    const cached = numbers.cachedTokens ? ` (${formatCount(numbers.cachedTokens)} cached)` : '';
    phrases.push(`${formatCount(numbers.promptTokens)} prompt tokens${cached}`);
  }
  if (numbers.firstTokenMs !== null) phrases.push(`first token ${formatDuration(numbers.firstTokenMs)}`);
  const speed = tokensPerSecond(numbers);
  if (speed !== null) phrases.push(`${speed < 99.95 ? speed.toFixed(1) : formatCount(Math.round(speed))} tokens/s`);
  return phrases;
}
