// marlin convert: a 4-bit model folder in, the same weights in another checkpoint format out.
import type { Command } from 'commander';
import type { WrittenFormat } from '../formats/written.ts';
import { convertCheckpoint, type ConvertReport } from '../quantize/convert.ts';
import { path, word } from './flags.ts';
import { type Output, withProgress } from './output.ts';
import { megabytes } from './table.ts';
import type { Verb } from './verb.ts';
import { packageVersion } from './version.ts';

const FORMATS: readonly WrittenFormat[] = ['compressed-tensors', 'gptq', 'gptq-v2', 'awq'];

interface ConvertFlags {
  readonly format: WrittenFormat;
}

async function run(
  input: string,
  out: string,
  { format }: ConvertFlags,
  output: Output,
  signal: AbortSignal,
): Promise<unknown> {
  const started = performance.now();
  const report = await withProgress(output, 'Converting', 'modules', (onProgress) =>
    convertCheckpoint({ input, output: out, format, producer: `marlin-ts:${packageVersion()}`, signal, onProgress }),
  );
  output.text(summary(report));
  return { ...report, seconds: Number(((performance.now() - started) / 1000).toFixed(2)) };
}

function summary(report: ConvertReport): string {
  const { output, from, format, group, symmetric, activationOrder, convertedModules, bytesBefore, bytesAfter } = report;
  const scheme = [
    group === 'channel' ? 'one scale a channel' : `groups of ${group}`,
    symmetric ? 'symmetric' : 'with zero points',
    ...(activationOrder ? ['in activation order'] : []),
  ].join(', ');
  return `${output}: ${convertedModules} modules from ${from} to ${format} (${scheme}), ${megabytes(bytesBefore)} became ${megabytes(bytesAfter)}; codes, zero points and scales are the same\n`;
}

export const convert: Verb = {
  name: 'convert',
  examples: [
    'marlin convert ./my-model-w4 ./my-model-gptq --format gptq',
    'marlin convert ./my-model-w4 ./my-model-awq --format awq --json',
  ],
  define: (command: Command, action) =>
    command
      .description('write a 4-bit model in another checkpoint format, exactly')
      .argument('<in>', 'folder of a 4-bit model: compressed-tensors, GPTQ, AWQ or Marlin', path('<in>'))
      .argument('<out>', 'folder to make; must not exist, appears only when complete', path('<out>'))
      .requiredOption('--format <name>', FORMATS.join(', '), word<WrittenFormat>('--format', FORMATS))
      .action((input: string, out: string, flags: ConvertFlags) =>
        action((output, signal) => run(input, out, flags, output, signal)),
      ),
};
