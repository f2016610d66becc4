// Drawing a token in the catalogue: greedy with ties, each rule alone and all together, a vocabulary that is no multiple of a load.
import { Random } from '../../base/random.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { STATE_IDS, STATE_POSITION, STATE_TOKENS } from '../vectors.ts';
import { drawWords, sample } from './kernel.ts';
import { creditsOf, type DrawParameters } from './reference.ts';

export type Rules = Omit<DrawParameters, 'seed'>;

export const neutral: Rules = { temperature: 1, topK: 0, topP: 1, minP: 0 };

export const samplingEntry: Entry = entry({
  name: 'sampling',
  title: 'The next token from logits: greedy, or under temperature, top-k, top-p and min-p',
  examples: () => [
    sampleExample('all-rules', 2, 1000, { temperature: 0.8, topK: 40, topP: 0.9, minP: 0.02 }),
    sampleExample('greedy', 2, 20_001, { ...neutral, temperature: 0 }),
    sampleExample('plain', 1, 61, neutral),
    sampleExample('top-p', 1, 16_500, { ...neutral, topP: 0.5 }),
  ],
});

/** How much less credit than the best a token may have and still pass for it: the noise is computed in f32. */
const SLACK = 1e-4;

export function sampleExample(name: string, count: number, vocabulary: number, rules: Rules): Example {
  const pitch = 4 * Math.ceil(vocabulary / 4);
  return example({
    name,
    program: sample({ vocabulary, pitch, advance: count === 1 }),
    grid: [count],
    args: (seed) => {
      const random = new Random(seed);
      const parameters: DrawParameters = { ...rules, seed: [random.u32(), random.u32()] };
      // Quarters, so that there are ties; behind the vocabulary something large, which must not be drawn.
      const logits = Float32Array.from({ length: count * pitch }, (_, i) =>
        i % pitch < vocabulary ? Math.round(8 * random.normal()) / 4 : 1e9,
      );
      const state = new Uint32Array(STATE_IDS + 1).fill(77);
      const [first, read] = [random.integer(1000), count === 1 ? 1 + random.integer(5) : 1];
      [state[STATE_POSITION], state[STATE_TOKENS]] = [first, read];
      return {
        logits,
        draw: drawWords(parameters),
        tokens: new Uint32Array(count).fill(0xeeeeeeee),
        state,
        parameters,
        position: first + read - 1,
      };
    },
    check: ({ logits, tokens, state, parameters, position }) => {
      const lacking = Array.from(tokens, (token, row) => {
        const credits = creditsOf(logits.subarray(row * pitch, row * pitch + vocabulary), parameters, position + row);
        return credits.reduce((a, b) => Math.max(a, b)) - (credits[token] ?? Number.NaN);
      });
      const [at, next] = count === 1 ? [position + 1, tokens[0]] : [position, 77];
      const right = state[STATE_POSITION] === at && state[STATE_TOKENS] === 1 && state[STATE_IDS] === next;
      return { error: right ? Math.max(...lacking) : Number.NaN, bound: rules.temperature === 0 ? 0 : SLACK };
    },
  });
}
