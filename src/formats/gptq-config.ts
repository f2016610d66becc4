// How GPTQ, AWQ and Marlin checkpoints describe themselves, in config.json or a file of its own, and how we do. Must not know their tensors.
import { Description, either, type Json, object, type QuantizationConfig, type StoredZero } from './quantization.ts';

const GPTQ = 'GPTQ with 4-bit integers in checkpoint_format gptq, gptq_v2, gptq_p or marlin';
const AWQ = 'AWQ with 4-bit integers in version gemm';
const MARLIN = 'the dense Marlin form with symmetric 4-bit integers';

/** Spellings of the same field by different tools. */
const BITS = ['bits', 'w_bit', 'wbits'] as const;
const GROUP = ['group_size', 'q_group_size'] as const;
const FORMAT = ['checkpoint_format', 'format', 'version'] as const;

/** The one producer whose v1 zero points are whole words minus 0x11111111. */
const WORD_WISE = 'gptqmodel:';

/** Reads a description with the method "gptq". Errors: `quantization-unsupported`, naming the field. */
export function parseGptq(config: Json, path: string): QuantizationConfig {
  const description = new Description(path, GPTQ);
  const format = either(config, ...FORMAT);
  description.only(FORMAT[0], format, 'gptq', 'gptq_v2', 'gptq_p', 'marlin', undefined);
  if (format === 'marlin' || description.flag('is_marlin_format', config['is_marlin_format'], false))
    return parseMarlin(config, path);
  description.only(BITS[0], either(config, ...BITS), 4);
  description.only('pack_dtype', config['pack_dtype'], 'int32', null, undefined);
  description.only('rotation', config['rotation'], null, undefined);
  refuseOverrides(config['dynamic'], description);
  return {
    method: 'gptq',
    group: description.group(GROUP[0], either(config, ...GROUP)),
    symmetric: isSymmetric(config, description, true),
    activationOrder: description.flag('desc_act', config['desc_act'], false),
    storedZero: format === 'gptq_v2' || format === 'gptq_p' ? 'literal' : storedZero(config),
    ignore: [],
  };
}

function storedZero(config: Json): StoredZero {
  const quantizer = object(config['meta'])?.['quantizer'];
  const first: unknown = Array.isArray(quantizer) ? quantizer[0] : quantizer;
  return typeof first === 'string' && first.startsWith(WORD_WISE) ? 'minus-one-of-words' : 'minus-one';
}

/** Of the overrides by module only those can be followed that leave modules alone, as tensors show that anyway. */
function refuseOverrides(dynamic: unknown, description: Description): void {
  for (const [pattern, override] of Object.entries(object(dynamic) ?? {}))
    if (!pattern.startsWith('-:')) description.refuse('dynamic', { [pattern]: override });
}

function isSymmetric(config: Json, description: Description, otherwise: boolean): boolean {
  const zeroPoint = config['zero_point'];
  if (typeof config['sym'] === 'boolean' || zeroPoint === null || zeroPoint === undefined)
    return description.flag('sym', config['sym'], otherwise);
  return !description.flag('zero_point', zeroPoint, true);
}

/** Reads a description with the method "awq". Errors: `quantization-unsupported`, naming the field; `json-invalid`. */
export function parseAwq(config: Json, path: string): QuantizationConfig {
  const description = new Description(path, AWQ);
  const version = either(config, 'version', 'checkpoint_format', 'format');
  // AutoAWQ itself spells it in capitals.
  description.only('version', typeof version === 'string' ? version.toLowerCase() : version, 'gemm', undefined);
  description.only(BITS[0], either(config, ...BITS), 4);
  refuseOverrides(config['dynamic'], description);
  return {
    method: 'awq',
    group: description.group(GROUP[0], either(config, ...GROUP)),
    symmetric: isSymmetric(config, description, false),
    activationOrder: false,
    storedZero: 'literal',
    ignore: description.names('modules_to_not_convert', config['modules_to_not_convert']),
  };
}

/** Reads a description with the method "marlin", or of GPTQ tensors in that form. Errors: `quantization-unsupported`, naming the field. */
export function parseMarlin(config: Json, path: string): QuantizationConfig {
  const description = new Description(path, MARLIN);
  description.only(BITS[0], either(config, ...BITS), 4, undefined);
  description.only('sym', config['sym'], true, null, undefined);
  return {
    method: 'marlin',
    group: description.group(GROUP[0], either(config, ...GROUP)),
    symmetric: true,
    activationOrder: false,
    storedZero: 'literal',
    ignore: [],
  };
}

/** How a whole checkpoint is quantized, as far as its description says. */
export interface WrittenScheme {
  readonly group: number | 'channel';
  readonly symmetric: boolean;
  readonly activationOrder: boolean;
  /** Linear modules that are not quantized. */
  readonly ignore: readonly string[];
  /** The tool that writes, such as "marlin-ts:0.1.0". */
  readonly producer: string;
}

/** A description of GPTQ tensors; it stands in config.json and, for old readers, in quantize_config.json. */
export function gptqConfigJson(scheme: WrittenScheme, version: 'gptq' | 'gptq_v2'): Json {
  return {
    quant_method: 'gptq',
    bits: 4,
    group_size: scheme.group === 'channel' ? -1 : scheme.group,
    desc_act: scheme.activationOrder,
    static_groups: false,
    sym: scheme.symmetric,
    lm_head: !scheme.ignore.includes('lm_head'),
    true_sequential: true,
    checkpoint_format: version,
    pack_dtype: 'int32',
    meta: { quantizer: [scheme.producer] },
  };
}

/** A description of AWQ tensors. */
export function awqConfigJson({ group, ignore }: WrittenScheme): Json {
  // lm_head is never asked for: readers of the form do not quantize it.
  const others = ignore.filter((module) => module !== 'lm_head');
  return {
    quant_method: 'awq',
    bits: 4,
    group_size: group === 'channel' ? -1 : group,
    zero_point: true,
    version: 'gemm',
    modules_to_not_convert: others.length === 0 ? null : others,
  };
}
