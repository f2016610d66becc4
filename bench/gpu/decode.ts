// Tokens a second of a whole network of that shape, one at a time (a graph a step, drawn on the device) and many at once, the share of what reading the
// weights alone would allow, and what loading its kernels costs the first token.
import { median } from '../../src/base/stats.ts';
import type { Device } from '../../src/device/device.ts';
import { newSequence } from '../../src/model/sequence.ts';
import { synthetic, type SyntheticKind, type SyntheticShape } from './synthetic.ts';

export interface DecodeResult {
  readonly kind: string;
  /** Tokens a second as a text is made from its beginning: the host hears of each token before the next step. */
  readonly decode: number;
  /** The same behind `prefillTokens` tokens. */
  readonly decodeBehind: number;
  readonly prefill: number;
  readonly prefillTokens: number;
  /** Bytes of weights a step reads, by the time of a step. */
  readonly bytesPerSecond: number;
  /** What a copy within the device moves, read and write together. */
  readonly copyBytesPerSecond: number;
  readonly loads: Loads;
}

/** What it costs to have kernels ready: the driver compiles what its cache does not hold. */
export interface Loads {
  readonly programs: number;
  readonly milliseconds: number;
  readonly slowest: string;
  readonly slowestMilliseconds: number;
  /** From a prompt of one token to the next token, everything that is made on the way included. */
  readonly firstTokenMilliseconds: number;
}

export interface DecodeOptions {
  readonly context?: number;
  readonly prefillTokens?: number;
  readonly steps?: number;
  readonly maxTokens?: number;
}

const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] } as const;

export function measureDecode(
  device: Device,
  shape: SyntheticShape,
  kind: SyntheticKind,
  { context = 4096, prefillTokens = 2048, steps = 128, maxTokens }: DecodeOptions = {},
): DecodeResult {
  using recorded = recordLoads(device);
  using model = synthetic(device, shape, kind, context, maxTokens);
  using sequence = newSequence(model.network);
  const { drawing } = sequence;
  if (drawing === undefined) throw new Error('the device draws');
  const prompt = Array.from({ length: prefillTokens }, (_, i) => (7919 * i) % shape.vocabSize);
  const started = performance.now();
  drawing.append(prompt.slice(0, 1), greedy);
  const firstTokenMilliseconds = performance.now() - started;
  const read = (): number => {
    sequence.truncate(0);
    const start = performance.now();
    drawing.append(prompt, greedy);
    return (performance.now() - start) / 1000;
  };
  read();
  const prefillSeconds = median([read(), read(), read()]);
  const secondsOfToken = (): number => {
    let token = drawing.append(prompt.slice(0, 1), greedy);
    const once = (): void => void (token = drawing.append([token], greedy));
    for (let i = 0; i < 3; i++) once();
    const start = performance.now();
    for (let i = 0; i < steps; i++) once();
    return (performance.now() - start) / 1000 / steps;
  };
  const behind = secondsOfToken();
  sequence.truncate(0);
  const seconds = secondsOfToken();
  return {
    kind: kind.name,
    decode: 1 / seconds,
    decodeBehind: 1 / behind,
    prefill: prefillTokens / prefillSeconds,
    prefillTokens,
    bytesPerSecond: model.weightBytes / seconds,
    copyBytesPerSecond: copySpeed(device),
    loads: { ...recorded.summary(), firstTokenMilliseconds },
  };
}

interface Recorded extends Disposable {
  summary(): Omit<Loads, 'firstTokenMilliseconds'>;
}

/** Times each load from now on. */
function recordLoads(device: Device): Recorded {
  const load = device.load.bind(device);
  const times: { readonly name: string; readonly milliseconds: number }[] = [];
  device.load = (program) => {
    const start = performance.now();
    const loaded = load(program);
    times.push({ name: program.name, milliseconds: performance.now() - start });
    return loaded;
  };
  return {
    summary: () => {
      const slowest = times.toSorted((a, b) => b.milliseconds - a.milliseconds)[0]!;
      return {
        programs: times.length,
        milliseconds: times.reduce((sum, { milliseconds }) => sum + milliseconds, 0),
        slowest: slowest.name,
        slowestMilliseconds: slowest.milliseconds,
      };
    },
    [Symbol.dispose]: () => {
      device.load = load;
    },
  };
}

function copySpeed(device: Device): number {
  const bytes = Math.min(2 ** 30, device.facts.memoryBytes / 8);
  using a = device.allocate(bytes, 'a copy');
  using b = device.allocate(bytes, 'its source');
  const once = (): number => device.time(() => device.copy(a, b));
  once();
  return (2 * bytes) / (median([once(), once(), once(), once(), once()]) / 1e6);
}
