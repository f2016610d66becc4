// npm run bench:cpu [-- --json FILE]: the 4-bit product beside plain TypeScript, tokens a second of the embedded model, peak memory.
import { spawnSync } from 'node:child_process';
import { renameSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Random } from '../src/base/random.ts';
import { relativeError } from '../src/base/stats.ts';
import { embeddedModel } from '../src/cli/flags.ts';
import { table } from '../src/cli/table.ts';
import { Cpu } from '../src/cpu/cpu.ts';
import type { ActivationBits } from '../src/cpu/rounding.ts';
import { loadW4, type W4Source } from '../src/cpu/matrix.ts';
import { openModel } from '../src/model/language-model.ts';
import { seconds } from './measure.ts';
import { plainW4 } from './plain-w4.ts';

const SIZE = 4096;
const GROUP = 128;
const threadCounts = availableParallelism() > 1 ? [1, 2] : [1];
const bitWidths: readonly ActivationBits[] = [8, 16];
/** Helper threads start in the background; a benchmark waits for them. */
const HELPERS_START_MS = 300;

interface ProductLine {
  readonly what: string;
  readonly threads: number;
  readonly microseconds: number;
  readonly gflops: number;
  readonly gigabytesPerSecond: number;
  readonly timesPlain: number;
  readonly relativeError: number;
}

async function products(): Promise<ProductLine[]> {
  const random = new Random(1);
  const source: W4Source = {
    rows: SIZE,
    columns: SIZE,
    group: GROUP,
    packed: Uint32Array.from({ length: (SIZE * SIZE) / 8 }, () => random.u32()),
    scales: Float32Array.from({ length: (SIZE * SIZE) / GROUP }, () => 0.01 + 0.01 * random.uniform()),
    zeroPoints: null,
  };
  const values = random.fillNormal(new Float32Array(SIZE));
  const expected = new Float32Array(SIZE);
  const bytes = (SIZE * SIZE) / 2 + source.scales.byteLength;
  const plainSeconds = seconds(() => plainW4(source, values, expected));
  const line = (what: string, threads: number, time: number, error: number): ProductLine => ({
    what,
    threads,
    microseconds: time * 1e6,
    gflops: (2 * SIZE * SIZE) / time / 1e9,
    gigabytesPerSecond: bytes / time / 1e9,
    timesPlain: plainSeconds / time,
    relativeError: error,
  });
  const lines = [line('plain TypeScript', 1, plainSeconds, 0)];
  for (const threads of threadCounts) {
    using cpu = new Cpu({ threads, context: 32, maxColumns: SIZE });
    const matrix = loadW4(cpu.heap, [source]);
    const x = cpu.activation(1, SIZE);
    const y = cpu.activation(1, SIZE);
    cpu.heap.floats(x.address, SIZE).set(values);
    await setTimeout(HELPERS_START_MS);
    for (const bits of bitWidths) {
      const time = seconds(() => cpu.linear(matrix, x, y, 1, { bits }));
      lines.push(
        line(
          `${cpu.pool.simd} SIMD, ${bits}-bit activations`,
          threads,
          time,
          relativeError(cpu.heap.floats(y.address, SIZE), expected),
        ),
      );
    }
  }
  return lines;
}

interface ModelLine {
  readonly threads: number;
  readonly activationBits: ActivationBits;
  readonly decodeTokensPerSecond: number;
  readonly prefillTokensPerSecond: number;
  readonly prefillOverDecode: number;
}

const PROMPT_TOKENS = 512;
const DECODE_FROM = 16;
const DECODE_TOKENS = 128;

async function models(): Promise<ModelLine[]> {
  const lines: ModelLine[] = [];
  for (const threads of threadCounts) {
    for (const activationBits of bitWidths) {
      using model = openModel(embeddedModel, { threads, activationBits });
      const random = new Random(2);
      const ids = Uint32Array.from({ length: PROMPT_TOKENS }, () => 6 + random.integer(model.config.vocabSize - 6));
      using sequence = model.newSequence();
      await setTimeout(HELPERS_START_MS);
      const prefill = seconds(() => {
        sequence.truncate(0);
        sequence.append(ids);
      }, 9);
      const decode = seconds(() => {
        sequence.truncate(DECODE_FROM);
        for (let i = 0; i < DECODE_TOKENS; i++) sequence.append(ids.subarray(i, i + 1));
      }, 9);
      lines.push({
        threads,
        activationBits,
        decodeTokensPerSecond: DECODE_TOKENS / decode,
        prefillTokensPerSecond: PROMPT_TOKENS / prefill,
        prefillOverDecode: PROMPT_TOKENS / prefill / (DECODE_TOKENS / decode),
      });
    }
  }
  return lines;
}

/** Peak resident memory of a whole `marlin generate`, as the operating system counts it, and the model's size. */
function memory(): { readonly peakBytes: number; readonly modelBytes: number } {
  const main = new URL('../src/cli/main.ts', import.meta.url).href;
  const script = `const { main } = await import(${JSON.stringify(main)}); await main(['generate', 'Once upon a time', '--max-tokens', '200', '--seed', '1', '--json']); console.error(process.resourceUsage().maxRSS);`;
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    cwd: fileURLToPath(new URL('..', import.meta.url)),
  });
  return {
    peakBytes: Number(stderr.trim().split('\n').at(-1)) * 1024,
    modelBytes: statSync(`${embeddedModel}/model.safetensors`).size,
  };
}

const { values: flags } = parseArgs({ options: { json: { type: 'string' } } });
const fixed = (value: number, digits = 1): string => value.toFixed(digits);

const productLines = await products();
console.log(`4-bit matrix-vector product, ${SIZE} x ${SIZE}, group ${GROUP} (medians)\n`);
console.log(
  table(
    ['product', 'threads', 'us', 'GFLOP/s', 'GB/s', 'x plain', 'relative error'],
    productLines.map((l) => [
      l.what,
      l.threads,
      fixed(l.microseconds),
      fixed(l.gflops),
      fixed(l.gigabytesPerSecond),
      fixed(l.timesPlain),
      l.relativeError.toExponential(1),
    ]),
  ),
);
const modelLines = await models();
console.log(
  `Embedded model, ${PROMPT_TOKENS} tokens read, ${DECODE_TOKENS} made from position ${DECODE_FROM} on (medians)\n`,
);
console.log(
  table(
    ['threads', 'activation bits', 'decode tokens/s', 'prefill tokens/s', 'prefill / decode'],
    modelLines.map((l) => [
      l.threads,
      l.activationBits,
      fixed(l.decodeTokensPerSecond, 0),
      fixed(l.prefillTokensPerSecond, 0),
      fixed(l.prefillOverDecode, 2),
    ]),
  ),
);
const usage = memory();
console.log(
  `Peak memory of "marlin generate": ${fixed(usage.peakBytes / 1e6)} MB = model file ${fixed(usage.modelBytes / 1e6)} MB + ${fixed((usage.peakBytes - usage.modelBytes) / 1e6)} MB`,
);
if (flags.json !== undefined) {
  const machine = {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    node: process.version,
    v8: process.versions.v8,
  };
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout.trim();
  writeFileSync(
    `${flags.json}.tmp`,
    `${JSON.stringify({ machine, commit, products: productLines, models: modelLines, memory: usage }, null, 2)}\n`,
  );
  renameSync(`${flags.json}.tmp`, flags.json);
}
