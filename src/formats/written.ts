// The forms in which a quantized checkpoint is written: a table of what each can hold and how. Must not know which modules a model has.
import { bf16ToNumber, f16ToNumber, numberToF16 } from '../base/f16.ts';
import { errors } from '../base/errors.ts';
import { awqSpecs, writeAwq } from './awq.ts';
import { quantizationConfigJson, quantizedSpecs, writeQuantized } from './compressed-tensors.ts';
import { gptqSpecs, writeGptq } from './gptq.ts';
import { awqConfigJson, gptqConfigJson, type WrittenScheme } from './gptq-config.ts';
import type { Json } from './quantization.ts';
import type { QuantizedMatrix } from './quantized.ts';
import type { SafetensorsWriter, TensorSpec } from './safetensors-writer.ts';
import type { MatrixSize, QuantizedGroups } from './tensors.ts';

export type WrittenFormat = 'compressed-tensors' | 'gptq' | 'gptq-v2' | 'awq';

/** What the tensors of a module are shaped by. */
export type MatrixForm = Pick<QuantizedMatrix, 'rows' | 'columns' | 'group' | 'scaleDtype'>;

export interface FormatWriter {
  /** The part of `check` that can be said before there are codes. Errors: `conversion-lossy`, naming the module. */
  checkSize(module: string, size: MatrixSize): void;
  /** Refuses what the form cannot hold exactly. Errors: `conversion-lossy`, naming the module. */
  check(module: string, groups: QuantizedGroups): void;
  specs(module: string, form: MatrixForm, scheme: WrittenScheme): readonly TensorSpec[];
  /** Writes a module that passed `check`, with the tensors that `specs` announced. Errors: `output-unwritable`. */
  write(writer: SafetensorsWriter, module: string, matrix: QuantizedMatrix, scheme: WrittenScheme): void;
  /** The `quantization_config` of config.json. */
  readonly configJson: (scheme: WrittenScheme) => Json;
  /** A file that old readers want the same in, if there is one. */
  readonly configFile: string | null;
}

const WHOLE_WORDS = 8;
const KEEP = 'Choose --format compressed-tensors, which holds it';

function gptqWriter(name: WrittenFormat, version: 1 | 2): FormatWriter {
  return {
    checkSize(module, { rows, columns }) {
      refuseParts(name, module, 'outputs', rows);
      refuseParts(name, module, 'inputs', columns);
    },
    check(module, groups) {
      this.checkSize(module, groups);
      if (version === 1) refuseZeroPoints(name, module, groups, 1, 16, 'Choose --format gptq-v2, which holds it');
      else refuseZeroPoints(name, module, groups, 0, 15, 'Choose --format gptq, which holds it');
      halfScales(name, module, groups);
    },
    specs: (module, form) => gptqSpecs(module, form),
    write: (writer, module, matrix) => writeGptq(writer, module, withHalfScales(name, module, matrix), version),
    configJson: (scheme) => gptqConfigJson(scheme, version === 1 ? 'gptq' : 'gptq_v2'),
    configFile: 'quantize_config.json',
  };
}

export const writers: Readonly<Record<WrittenFormat, FormatWriter>> = {
  'compressed-tensors': {
    checkSize() {}, // rows are padded to whole words
    check(module, groups) {
      refuseZeroPoints('compressed-tensors', module, groups, 0, 15, 'Choose --format gptq, which holds it');
    },
    specs: (module, form, scheme) => quantizedSpecs(module, form, packed(scheme)),
    write: (writer, module, matrix, scheme) => writeQuantized(writer, module, matrix, packed(scheme)),
    configJson: (scheme) => quantizationConfigJson(scheme.group, scheme.ignore, scheme),
    configFile: null,
  },
  gptq: gptqWriter('gptq', 1),
  'gptq-v2': gptqWriter('gptq-v2', 2),
  awq: {
    checkSize(module, { rows }) {
      refuseParts('awq', module, 'outputs', rows);
    },
    check(module, groups) {
      this.checkSize(module, groups);
      if (groups.groupOf !== undefined) {
        const fix = 'Choose --format gptq or compressed-tensors, which hold it';
        throw errors.conversionLossy(
          module,
          'awq',
          'its groups are in activation order (g_idx), which awq has no place for',
          fix,
        );
      }
      refuseZeroPoints('awq', module, groups, 0, 15, 'Choose --format gptq, which holds it');
      halfScales('awq', module, groups);
    },
    specs: (module, form) => awqSpecs(module, form),
    write: (writer, module, matrix) => writeAwq(writer, module, withHalfScales('awq', module, matrix)),
    configJson: awqConfigJson,
    configFile: null,
  },
};

function packed({ symmetric, activationOrder }: WrittenScheme): { zeroPoints: boolean; activationOrder: boolean } {
  return { zeroPoints: !symmetric, activationOrder };
}

function refuseParts(format: WrittenFormat, module: string, what: string, count: number): void {
  if (count % WHOLE_WORDS === 0) return;
  throw errors.conversionLossy(module, format, `it has ${count} ${what}, no multiple of ${WHOLE_WORDS}`, KEEP);
}

function refuseZeroPoints(
  format: WrittenFormat,
  module: string,
  { zeroPoints }: QuantizedGroups,
  low: number,
  high: number,
  fix: string,
): void {
  const bad = zeroPoints?.find((zero) => zero < low || zero > high);
  if (bad === undefined) return;
  throw errors.conversionLossy(
    module,
    format,
    `it has the zero point ${bad}, and ${low} to ${high} can be stored`,
    fix,
  );
}

/** The scales of a matrix as F16. Errors: `conversion-lossy` where one of BF16 is not exactly one of F16. */
function halfScales(format: WrittenFormat, module: string, { scales, scaleDtype }: QuantizedGroups): Uint16Array {
  if (scaleDtype === 'F16') return scales;
  return scales.map((bits) => {
    const scale = bf16ToNumber(bits);
    const half = numberToF16(scale);
    if (f16ToNumber(half) === scale) return half;
    throw errors.conversionLossy(
      module,
      format,
      `its scale ${scale} is BF16 and would have to be rounded to F16`,
      KEEP,
    );
  });
}

function withHalfScales(format: WrittenFormat, module: string, matrix: QuantizedMatrix): QuantizedMatrix {
  return { ...matrix, scales: halfScales(format, module, matrix), scaleDtype: 'F16' };
}
