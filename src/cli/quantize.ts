// marlin quantize: a 16-bit model folder in, a 4-bit or pruned one out.
import { type Command, Option } from 'commander';
import { errorChart } from '../bench/plot/errors.ts';
import { errors, MarlinError } from '../base/errors.ts';
import { quantizeCalibrated } from '../calibrate/run.ts';
import type { Device } from '../device/device.ts';
import { openDevice } from '../device/open.ts';
import type { WrittenFormat } from '../formats/written.ts';
import type { DeviceName } from '../model/language-model.ts';
import { quantizeCheckpoint } from '../quantize/checkpoint.ts';
import type { SolveClip } from '../quantize/scale-search.ts';
import { cutWindows, DEFAULT_CONTEXT, encodeText, readText } from './eval-text.ts';
import { decimal, integer, path, word } from './flags.ts';
import { openFolder } from './open.ts';
import { type Output, withProgress } from './output.ts';
import { megabytes, percent, table } from './table.ts';
import type { Verb } from './verb.ts';
import { packageVersion } from './version.ts';
import { writeWhole } from './write.ts';

type Method = 'rtn' | 'gptq' | 'sparsegpt';

interface QuantizeFlags {
  readonly method: Method;
  readonly bits: 4 | 16;
  readonly group: number | 'channel';
  readonly sym?: true;
  readonly asym?: true;
  readonly actOrder?: true;
  readonly clip?: SolveClip;
  readonly damp?: number;
  readonly sparsity?: '2:4';
  readonly calib?: string;
  readonly samples: number;
  readonly length?: number;
  readonly format: FormatName;
  readonly resume?: true;
  readonly threads?: number;
  readonly device: DeviceName;
  readonly plot?: string;
}

/** GPTQ with zero points is written in its second version: the first stores one less, and readers differ in what that means. */
type FormatName = Exclude<WrittenFormat, 'gptq-v2'>;

const FORMATS: readonly FormatName[] = ['compressed-tensors', 'gptq', 'awq'];
const CLIPS: readonly SolveClip[] = ['none', 'mse', 'gptq'];

/** How a method works unless it is told otherwise: GPTQ by the recipe of MARLIN, SparseGPT by its authors'. */
const DEFAULTS: Readonly<Record<Method, { readonly clip: SolveClip; readonly damp: number }>> = {
  rtn: { clip: 'none', damp: 0 },
  gptq: { clip: 'gptq', damp: 0.1 },
  sparsegpt: { clip: 'none', damp: 0.01 },
};

function group(value: string): number | 'channel' {
  if (value === 'channel') return value;
  const size = integer('--group', 8)(value);
  // What a word of packed weights holds; other sizes could be written, but not run.
  if (size % 8 !== 0) throw errors.groupUnsupported(size);
  return size;
}

/** Flags that do not go together. Errors: 'command-invalid'. */
function check(flags: QuantizeFlags): void {
  const { method, bits, clip, calib, sparsity, actOrder, sym, asym, damp, resume, length, threads, format } = flags;
  const refuse = (what: string): never => {
    throw errors.commandInvalid(what, 'quantize');
  };
  const calibrated = method !== 'rtn';
  if (calibrated && calib === undefined) refuse(`--method ${method} calibrates, and there is no --calib <file>`);
  if (!calibrated) {
    const given = {
      '--calib': calib,
      '--damp': damp,
      '--act-order': actOrder,
      '--resume': resume,
      '--length': length,
      '--threads': threads,
    };
    for (const [flag, value] of Object.entries(given))
      if (value !== undefined) refuse(`${flag} is for methods that calibrate, and rtn does not`);
    if (clip === 'gptq') refuse('--clip gptq is for methods that calibrate, and rtn does not');
    if (bits === 16) refuse('--bits 16 is for --method sparsegpt, which can prune alone');
  }
  if (sym === true && asym === true) refuse('--sym and --asym exclude each other');
  if (method === 'sparsegpt' && sparsity === undefined) refuse('--method sparsegpt prunes: say --sparsity 2:4');
  if (method === 'gptq' && sparsity !== undefined)
    refuse('--method gptq does not prune; sparsegpt does both in one sweep');
  if (method === 'gptq' && bits === 16) refuse('--method gptq rounds to 4 bits');
  if (sparsity !== undefined && actOrder === true) refuse('--sparsity and --act-order exclude each other');
  if (bits === 16 && (asym === true || clip !== undefined || format !== 'compressed-tensors'))
    refuse('with --bits 16 nothing is rounded: --asym, --clip and --format mean nothing');
}

async function run(
  input: string,
  out: string,
  flags: QuantizeFlags,
  output: Output,
  signal: AbortSignal,
): Promise<unknown> {
  check(flags);
  const started = performance.now();
  const { method, bits, group: size, format, sparsity } = flags;
  const symmetric = flags.asym !== true;
  const clip = flags.clip ?? DEFAULTS[method].clip;
  const made: Made =
    method === 'rtn'
      ? await rounded(input, out, flags, clip, output, signal)
      : await calibrated(input, out, flags, clip, output, signal);
  const { continuedAt, ...report } = made;
  output.text(summary(report, method === 'rtn' ? 'weights' : 'outputs'));
  if (flags.plot !== undefined) {
    writeWhole(flags.plot, errorChart(report.tensors, method === 'rtn' ? 'weights' : 'outputs'));
    output.text(`Errors by layer: ${flags.plot}\n`);
  }
  output.note(`Try it: marlin generate "Once upon a time" --model ${JSON.stringify(out)}`);
  const seconds = Number(((performance.now() - started) / 1000).toFixed(2));
  const recipe = { method, bits, group: size, symmetric, clip, sparsity: sparsity ?? null, format };
  return { ...recipe, ...(continuedAt === undefined ? {} : { continuedAt }), ...report, seconds };
}

const producer = (): string => `marlin-ts:${packageVersion()}`;

const writtenFormat = ({ format, asym }: QuantizeFlags): WrittenFormat =>
  format === 'gptq' && asym === true ? 'gptq-v2' : format;

async function rounded(
  input: string,
  out: string,
  flags: QuantizeFlags,
  clip: SolveClip,
  output: Output,
  signal: AbortSignal,
): Promise<Made> {
  return await withProgress(output, 'Quantizing', 'tensors', async (onProgress) =>
    quantizeCheckpoint({
      input,
      output: out,
      group: flags.group,
      clip: clip === 'gptq' ? 'none' : clip,
      symmetric: flags.asym !== true,
      prune: flags.sparsity !== undefined,
      format: writtenFormat(flags),
      producer: producer(),
      signal,
      onProgress,
    }),
  );
}

async function calibrated(
  input: string,
  out: string,
  flags: QuantizeFlags,
  clip: SolveClip,
  output: Output,
  signal: AbortSignal,
): Promise<Made> {
  const { method, bits, calib = '', samples, threads, resume } = flags;
  const folder = openFolder(input);
  const { contextLength } = folder.config;
  const length = flags.length ?? Math.min(DEFAULT_CONTEXT, contextLength);
  if (length > contextLength)
    throw errors.flagInvalid('--length', String(length), `at most the ${contextLength} tokens of the model's context`);
  const tokens = await encodeText(folder, readText(calib), output, samples * length);
  const windows = cutWindows(tokens, length, { text: calib, windows: samples });
  if (windows.length < samples)
    output.note(`${calib} has ${windows.length} windows of ${length} tokens, fewer than --samples ${samples}.`);
  const codes = bits === 16 ? null : { group: flags.group, symmetric: flags.asym !== true, clip };
  using device = await gpuOf(flags.device);
  output.note(`The network runs on ${device?.name ?? 'the CPU'}.`);
  const report = await withProgress(output, 'Quantizing', 'windows', async (onProgress) =>
    quantizeCalibrated({
      input,
      output: out,
      format: writtenFormat(flags),
      producer: producer(),
      recipe: {
        codes,
        prune: flags.sparsity !== undefined,
        damp: flags.damp ?? DEFAULTS[method].damp,
        actOrder: flags.actOrder ?? false,
      },
      windows,
      ...(threads === undefined ? {} : { threads }),
      ...(device === null ? {} : { device }),
      resume: resume ?? false,
      signal,
      onProgress,
    }),
  );
  return { ...report, device: device?.name ?? 'cpu' };
}

/** A GPU by a device's name; 'auto': null where there is none. Errors: those of `openDevice` for 'cuda'. */
async function gpuOf(name: DeviceName): Promise<Device | null> {
  if (name === 'cpu') return null;
  try {
    return await openDevice('nvidia');
  } catch (error) {
    if (name === 'cuda' || !(error instanceof MarlinError)) throw error;
    return null;
  }
}

interface MadeTensor {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly relativeError: number;
  readonly bytesAfter: number;
}

interface Made {
  readonly output: string;
  readonly continuedAt?: number;
  readonly device?: string;
  readonly tensors: readonly MadeTensor[];
  readonly totals: {
    readonly relativeError: number;
    readonly bitsPerWeight: number;
    readonly bytesBefore: number;
    readonly bytesAfter: number;
  };
}

/** One line a kind of Linear, over all layers. `of`: what errors are relative to. */
function summary({ output, tensors, totals }: Made, of: 'weights' | 'outputs'): string {
  const kinds = Map.groupBy(tensors, (tensor) => tensor.name.replace(/^model\.layers\.\d+\./, ''));
  const total = (all: readonly MadeTensor[], key: 'relativeError' | 'bytesAfter'): number =>
    all.reduce((sum, tensor) => sum + tensor[key], 0);
  const rows = [...kinds].map(([kind, all]) => [
    kind,
    all.length,
    `${all[0]!.rows} x ${all[0]!.columns}`,
    percent(total(all, 'relativeError') / all.length),
    percent(Math.max(...all.map((tensor) => tensor.relativeError))),
    megabytes(total(all, 'bytesAfter')),
  ]);
  const { bytesBefore, bytesAfter, bitsPerWeight, relativeError } = totals;
  return [
    table(['weights', 'layers', 'shape', 'mean error', 'worst error', 'size'], rows),
    `\n${output}: ${megabytes(bytesBefore)} became ${megabytes(bytesAfter)}; ${bitsPerWeight.toFixed(3)} bits a quantized weight, relative error ${percent(relativeError)}${of === 'outputs' ? ' of what linears give' : ''}\n`,
  ].join('');
}

export const quantize: Verb = {
  name: 'quantize',
  examples: [
    'marlin quantize ./my-model ./my-model-w4',
    'marlin quantize ./my-model ./my-model-w4 --method gptq --calib book.txt',
    'marlin quantize ./my-model ./my-model-w4 --group 64 --clip mse --json',
  ],
  define: (command: Command, action) =>
    command
      .description('make a 4-bit copy of a model, readable by other engines, or a pruned one')
      .argument('<in>', 'folder of a 16-bit model', path('<in>'))
      .argument('<out>', 'folder to make; must not exist, appears only when complete', path('<out>'))
      .option(
        '--method <name>',
        'rtn: round to nearest; gptq, sparsegpt: by what inputs of the calibration text say (minutes)',
        word<Method>('--method', ['rtn', 'gptq', 'sparsegpt']),
        'rtn',
      )
      .option('--bits <n>', '4, or 16: prune only', bitsOf, 4)
      .option('--group <n>', 'weights that share a scale: 32, 64, 128 or "channel"', group, 128)
      .option('--sym', 'without zero points (default)')
      .option('--asym', 'with a zero point for each scale')
      .option('--act-order', 'columns of the largest inputs first; scales stay where they are')
      .option(
        '--clip <how>',
        'none, mse: search the scale of least squared error, gptq: of what others cannot make up for (default: none, with gptq: gptq)',
        word<SolveClip>('--clip', CLIPS),
      )
      .option(
        '--damp <share>',
        'of the mean input, added to all (default: 0.1, sparsegpt: 0.01)',
        decimal('--damp', 0, 1),
      )
      .option('--sparsity <pattern>', '2:4: two of each four weights become 0', word<'2:4'>('--sparsity', ['2:4']))
      .option('--calib <file>', 'text to calibrate with; documents are separated by zero bytes', path('--calib'))
      .option('--samples <n>', 'windows of it', integer('--samples', 1, 65_536), 128)
      .option(
        '--length <tokens>',
        `tokens of a window (default: ${DEFAULT_CONTEXT}, or what the model was trained for)`,
        integer('--length', 8, 65_536),
      )
      .option('--format <name>', FORMATS.join(', '), word<FormatName>('--format', FORMATS), 'compressed-tensors')
      .option('--resume', 'go on with unfinished work, and do not start anew')
      .addOption(
        new Option('--device <name>', 'what runs the network to calibrate: auto, cpu or cuda')
          .default('auto', 'auto')
          .argParser(word<DeviceName>('--device', ['auto', 'cpu', 'cuda'])),
      )
      .option('--threads <n>', 'CPU threads (default: one a core)', integer('--threads', 1, 256))
      .option('--plot <file>', 'draw the error of each linear, by layer, as SVG', path('--plot'))
      .action((input: string, out: string, flags: QuantizeFlags) =>
        action((output, signal) => run(input, out, flags, output, signal)),
      ),
};

function bitsOf(value: string): 4 | 16 {
  if (value === '4') return 4;
  if (value === '16') return 16;
  throw errors.flagInvalid('--bits', value, '4 or 16');
}
