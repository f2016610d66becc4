// marlin quantize: a 16-bit model folder in, a 4-bit one out.
import type { Command } from 'commander';
import { errors } from '../base/errors.ts';
import { quantizeCheckpoint, type QuantizedTensorReport, type QuantizeReport } from '../quantize/checkpoint.ts';
import type { Clip } from '../quantize/rtn.ts';
import { integer, path, word } from './flags.ts';
import { type Output, withProgress } from './output.ts';
import { megabytes, percent, table } from './table.ts';
import type { Verb } from './verb.ts';

interface QuantizeFlags {
  readonly method: 'rtn';
  readonly group: number | 'channel';
  readonly clip: Clip;
}

function group(value: string): number | 'channel' {
  if (value === 'channel') return value;
  const size = integer('--group', 8)(value);
  // What a word of packed weights holds; other sizes could be written, but not run.
  if (size % 8 !== 0) throw errors.groupUnsupported(size);
  return size;
}

async function run(
  input: string,
  out: string,
  flags: QuantizeFlags,
  output: Output,
  signal: AbortSignal,
): Promise<unknown> {
  const started = performance.now();
  const { method, group: size, clip } = flags;
  const report = await withProgress(output, 'Quantizing', 'tensors', (onProgress) =>
    quantizeCheckpoint({ input, output: out, group: size, clip, signal, onProgress }),
  );
  output.text(summary(report));
  output.note(`Try it: marlin generate "Once upon a time" --model ${JSON.stringify(out)}`);
  const seconds = Number(((performance.now() - started) / 1000).toFixed(2));
  return { method, group: size, clip, ...report, seconds };
}

/** One line a kind of Linear, over all layers. */
function summary({ output, tensors, totals }: QuantizeReport): string {
  const kinds = Map.groupBy(tensors, (tensor) => tensor.name.replace(/^model\.layers\.\d+\./, ''));
  const total = (of: readonly QuantizedTensorReport[], key: 'relativeError' | 'bytesAfter'): number =>
    of.reduce((sum, tensor) => sum + tensor[key], 0);
  const rows = [...kinds].map(([kind, of]) => [
    kind,
    of.length,
    `${of[0]!.rows} x ${of[0]!.columns}`,
    percent(total(of, 'relativeError') / of.length),
    percent(Math.max(...of.map((tensor) => tensor.relativeError))),
    megabytes(total(of, 'bytesAfter')),
  ]);
  const { bytesBefore, bytesAfter, bitsPerWeight, relativeError } = totals;
  return [
    table(['weights', 'layers', 'shape', 'mean error', 'worst error', 'size'], rows),
    `\n${output}: ${megabytes(bytesBefore)} became ${megabytes(bytesAfter)}; ${bitsPerWeight.toFixed(3)} bits a quantized weight, relative error ${percent(relativeError)}\n`,
  ].join('');
}

export const quantize: Verb = {
  name: 'quantize',
  examples: [
    'marlin quantize ./my-model ./my-model-w4',
    'marlin quantize ./my-model ./my-model-w4 --group 64 --clip mse --json',
  ],
  define: (command: Command, action) =>
    command
      .description('make a 4-bit copy of a model (compressed-tensors, readable by other engines)')
      .argument('<in>', 'folder of a 16-bit model', path('<in>'))
      .argument('<out>', 'folder to make; must not exist, appears only when complete', path('<out>'))
      .option('--method <name>', 'rtn: round to nearest', word<'rtn'>('--method', ['rtn']), 'rtn')
      .option('--group <n>', 'weights that share a scale: 32, 64, 128 or "channel"', group, 128)
      .option(
        '--clip <how>',
        'none, or mse: search the scale of least squared error',
        word<Clip>('--clip', ['none', 'mse']),
        'none',
      )
      .action((input: string, out: string, flags: QuantizeFlags) =>
        action((output, signal) => run(input, out, flags, output, signal)),
      ),
};
