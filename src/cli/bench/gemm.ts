// marlin bench gemm: the 4-bit product of real layers against cuBLAS fp16 and a pure read of the weights, on the GPU of this machine.
import type { Command } from 'commander';
import { bestPublished, type PublishedRow, readPublished } from '../../bench/published.ts';
import { type GemmResults, type GemmRow, meansOf, speedupOf, timesIdeal } from '../../bench/results.ts';
import { runGemm } from '../../bench/run.ts';
import { openDevice } from '../../device/open.ts';
import { SimulatedDevice } from '../../device/simulated.ts';
import { path } from '../flags.ts';
import { breathe } from '../interrupt.ts';
import { type Output, withProgress } from '../output.ts';
import { table } from '../table.ts';
import type { Verb } from '../verb.ts';
import { writeWhole } from '../write.ts';
import { type LayerFlags, layerOptions } from './layers.ts';

interface GemmFlags extends LayerFlags {
  readonly simulate?: true;
  readonly output?: string;
}

/** A simulated launch takes a good while. */
const FEW = { multiprocessors: 2 };
const SIMULATED = { samples: 1, launches: 1, graphMicroseconds: 1, rotation: 1 };

async function run(flags: GemmFlags, output: Output, signal: AbortSignal): Promise<unknown> {
  const simulated = flags.simulate === true;
  using device = simulated ? new SimulatedDevice({ facts: FEW }) : await openDevice(`nvidia:${flags.gpu}`);
  if (flags.dtype === 'bf16' && !simulated) output.note('cuBLAS is measured with fp16, as for f16.');
  const layers = flags.shapes.map((size) => ({
    ...size,
    scheme: { group: flags.group, zeroPoints: false },
    type: flags.dtype,
  }));
  const results = await withProgress(output, `Measuring on ${device.name}`, 'rows', (report) =>
    runGemm(device, layers, flags.m, {
      ...(simulated ? SIMULATED : {}),
      report,
      remark: (text) => output.note(text),
      breathe: () => breathe(signal),
    }),
  );
  const published = readPublished();
  const means = meansOf(results.rows, (row) => bestPublished(published, row)?.speedup ?? null);
  output.text(textOf(results, published));
  if (flags.output !== undefined) {
    writeWhole(flags.output, `${JSON.stringify({ ...results, means }, null, 1)}\n`);
    output.text(`\nKept in ${flags.output}\n`);
  }
  return { ok: results.rows.every(({ ok }) => ok), ...results, means };
}

const HEADER = ['K x N', 'M', 'us', 'GB/s', 'TFLOP/s', 'x fp16', 'x ideal', 'kernel', 'error'];

function rowText(row: GemmRow): string[] {
  const { k, n, m, microseconds, gigabytesPerSecond, teraflops, kernel, tiling, error, ok } = row;
  return [
    `${k}x${n}`,
    String(m),
    microseconds.toFixed(1),
    gigabytesPerSecond.toFixed(0),
    teraflops.toFixed(1),
    ratio(speedupOf(row)),
    ratio(timesIdeal(row)),
    `${kernel} (${tiling})`,
    `${error === null ? 'not written' : error.toExponential(1)}${ok ? '' : ' WRONG'}`,
  ];
}

const ratio = (value: number | null): string => value?.toFixed(2) ?? '-';

/** All rows, then the means, and what it means when the device is no GPU. */
export function textOf(results: GemmResults, published: readonly PublishedRow[]): string {
  const means = meansOf(results.rows, (row) => bestPublished(published, row)?.speedup ?? null);
  const about =
    results.machine === null ? 'Simulated: the results are checked, the times mean nothing about a GPU.\n\n' : '';
  const rate =
    results.fp16 === null
      ? ''
      : `cuBLAS fp16 reaches ${results.fp16.teraflops.toFixed(0)} TFLOP/s on a square product.\n\n`;
  return [
    about,
    rate,
    table(HEADER, results.rows.map(rowText)),
    '\nGeometric means over the layers; published: the best of vLLM Marlin, Machete, CUTLASS and tinygemm for each layer, on an H200\n\n',
    table(
      ['M', 'x fp16', 'x fp16 if ideal', 'x ideal', 'published, x fp16'],
      means.map((mean) => [
        mean.m,
        ratio(mean.speedup),
        ratio(mean.idealSpeedup),
        ratio(mean.timesIdeal),
        ratio(mean.published),
      ]),
    ),
  ].join('');
}

export const gemmVerb: Verb = {
  name: 'gemm',
  failureCode: 1,
  examples: [
    'marlin bench gemm --simulate --shapes 128x64 --m 1,8',
    'marlin bench gemm --simulate --shapes 256x32 --m 3 --group 64 --json',
  ],
  define: (command: Command, action) =>
    layerOptions(command)
      .description(
        'measure the 4-bit product of layers against cuBLAS fp16 and a pure read; exit code 1 if a result is wrong',
      )
      .option('--simulate', 'on the simulator, without a GPU: results are checked, times mean nothing')
      .option('--output <file>', 'keep the results as JSON, for "marlin bench plot"', path('--output'))
      .action((flags: GemmFlags) => action((output, signal) => run(flags, output, signal))),
};
