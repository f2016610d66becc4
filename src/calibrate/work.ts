// What a calibrated quantization keeps beside its output until it is through, so that a killed one goes on where it was: a file for each finished block, and
// the hidden states before the next. Every file appears whole. Knows no device.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, openSync, closeSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { errors } from '../base/errors.ts';
import { readJson, reading, writeJson, writing } from '../formats/files.ts';
import type { QuantizedMatrix } from '../formats/quantized.ts';
import { SafetensorsFile } from '../formats/safetensors.ts';
import { SafetensorsWriter, type TensorSpec } from '../formats/safetensors-writer.ts';
import type { Kinds } from '../model/ops.ts';
import type { WideStore } from './device.ts';

/** What became of a linear, as the finished model takes it. */
export interface FinishedLinear {
  readonly module: string;
  readonly rows: number;
  readonly columns: number;
  /** Null where weights are only pruned: then they are `weights`, [rows, columns] in 16 bits of the model's type. */
  readonly matrix: QuantizedMatrix | null;
  readonly weights: Uint16Array | null;
  readonly relativeError: number;
  readonly damp: number;
}

const runSchema = z.object({ fingerprint: z.string() });
const blockSchema = z.array(
  z.object({
    module: z.string(),
    rows: z.int().positive(),
    columns: z.int().positive(),
    group: z.int().positive().nullable(),
    scaleDtype: z.enum(['F16', 'BF16']),
    asymmetric: z.boolean(),
    relativeError: z.number(),
    damp: z.number(),
  }),
);

export class WorkFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * The one of `output`, made if it is not there. `fingerprint`: of all that decides what comes out. Errors: 'work-differs' when the one that is there was begun
   * with something else, 'nothing-to-resume' when there is none but `resume` wants one, 'output-unwritable'.
   */
  static open(output: string, fingerprint: string, resume: boolean): WorkFolder {
    const path = `${output}.work`;
    const run = join(path, 'run.json');
    if (existsSync(run)) {
      if (readJson(run, runSchema).fingerprint !== fingerprint) throw errors.workDiffers(path);
    } else {
      if (resume) throw errors.nothingToResume(path);
      writing(path, () => mkdirSync(path, { recursive: true }));
      writeJson(run, { fingerprint });
    }
    return new WorkFolder(path);
  }

  /** Blocks that are finished, of `total`, with the hidden states behind them unless they are all. */
  finished(total: number): number {
    let count = 0;
    while (count < total && existsSync(this.block(count))) count++;
    if (count === total) return count;
    while (count > 0 && !existsSync(this.hidden(count))) count--;
    return count;
  }

  private block(index: number): string {
    return join(this.path, `block-${String(index).padStart(5, '0')}.safetensors`);
  }

  private hidden(index: number): string {
    return join(this.path, `hidden-${String(index).padStart(5, '0')}.bin`);
  }

  /** Errors: 'output-unwritable'. */
  writeBlock(index: number, linears: readonly FinishedLinear[]): void {
    const facts = linears.map(({ module, rows, columns, matrix, relativeError, damp }) => ({
      module,
      rows,
      columns,
      group: matrix?.group ?? null,
      scaleDtype: matrix?.scaleDtype ?? 'F16',
      asymmetric: (matrix?.zeroPoints ?? null) !== null,
      relativeError,
      damp,
    }));
    writeJson(`${this.block(index)}.json`, facts);
    const tensors = linears.flatMap(tensorsOf);
    using writer = SafetensorsWriter.create(
      this.block(index),
      tensors.map(({ spec }) => spec),
    );
    for (const { spec, data } of tensors)
      writer.write(spec.name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    writer.commit();
  }

  /** Errors: those of reading. */
  readBlock(index: number): readonly FinishedLinear[] {
    const facts = readJson(`${this.block(index)}.json`, blockSchema);
    using file = SafetensorsFile.open(this.block(index));
    const read = (name: string): ArrayBuffer => {
      const info = file.tensors.get(name);
      if (info === undefined) throw errors.tensorMissing(file.path, name, []);
      const bytes = new Uint8Array(info.bytes);
      file.read(info, bytes);
      return bytes.buffer;
    };
    return facts.map(({ group, asymmetric, scaleDtype, ...rest }) => {
      const { module, rows, columns } = rest;
      if (group === null) return { ...rest, matrix: null, weights: new Uint16Array(read(`${module}.weights`)) };
      const matrix: QuantizedMatrix = {
        rows,
        columns,
        group,
        packed: new Uint32Array(read(`${module}.packed`)),
        scales: new Uint16Array(read(`${module}.scales`)),
        scaleDtype,
        zeroPoints: asymmetric ? new Uint8Array(read(`${module}.zeros`)) : null,
      };
      return { ...rest, matrix, weights: null };
    });
  }

  /** Keeps the hidden states before block `index`, and no older ones. Errors: 'output-unwritable'. */
  writeHidden<K extends Kinds>(index: number, store: WideStore<K>): void {
    const file = this.hidden(index);
    const temporary = `${file}.${randomBytes(4).toString('hex')}.partial`;
    writing(file, () => {
      const descriptor = openSync(temporary, 'wx');
      try {
        for (let window = 0; window < store.windows; window++) writeSync(descriptor, store.save(window));
      } finally {
        closeSync(descriptor);
      }
      renameSync(temporary, file);
    });
    if (index > 0) rmSync(this.hidden(index - 1), { force: true });
  }

  /** Errors: 'file-unreadable'. */
  readHidden<K extends Kinds>(index: number, store: WideStore<K>): void {
    const file = this.hidden(index);
    reading(file, () => {
      const descriptor = openSync(file, 'r');
      try {
        const bytes = new Uint8Array(store.bytes);
        for (let window = 0; window < store.windows; window++) {
          if (readSync(descriptor, bytes) !== bytes.length) throw new Error('it ends too soon');
          store.load(window, bytes);
        }
      } finally {
        closeSync(descriptor);
      }
    });
  }

  /** When the output is there. */
  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

interface Tensor {
  readonly spec: TensorSpec;
  readonly data: ArrayBufferView;
}

function tensorsOf({ module, rows, columns, matrix, weights }: FinishedLinear): readonly Tensor[] {
  const tensor = (part: string, dtype: TensorSpec['dtype'], width: number, data: ArrayBufferView): Tensor => ({
    spec: { name: `${module}.${part}`, dtype, shape: [rows, width] },
    data,
  });
  if (matrix === null) return weights === null ? [] : [tensor('weights', 'U16', columns, weights)];
  const { packed, scales, zeroPoints, group } = matrix;
  const groups = columns / group;
  return [
    tensor('packed', 'I32', Math.ceil(columns / 8), packed),
    tensor('scales', 'U16', groups, scales),
    ...(zeroPoints === null ? [] : [tensor('zeros', 'U8', groups, zeroPoints)]),
  ];
}
