// The part of config.json that describes the compressed-tensors "pack-quantized" form, both ways. Must not know its tensors.
import { Description, type Json, object, type QuantizationConfig } from './quantization.ts';

const SUPPORTED =
  'compressed-tensors pack-quantized with 4-bit integers, one scale per group or per channel, 16-bit activations';

const PRESETS: Readonly<Record<string, boolean>> = { W4A16: true, W4A16_ASYM: false };

/** What the spellings of `actorder` mean: "weight" and "static" reorder only while quantizing. */
const GROUP_ORDER: readonly unknown[] = ['group', 'dynamic', true];
const NO_ORDER: readonly unknown[] = [null, undefined, false, 'weight', 'static'];

/** Reads the `quantization_config` of a config.json at `path`. Errors: `quantization-unsupported`, naming the field; `json-invalid`. */
export function parseCompressedTensors(config: Json, path: string): QuantizationConfig {
  const description = new Description(path, SUPPORTED);
  const only = description.only.bind(description);
  only('format', config['format'], 'pack-quantized');
  only('quantization_status', config['quantization_status'], 'compressed', undefined);
  only('kv_cache_scheme', config['kv_cache_scheme'], null, undefined);
  for (const field of ['sparsity_config', 'transform_config']) {
    if (Object.keys(object(config[field]) ?? {}).length > 0) only(field, config[field]);
  }
  const groups = Object.entries(object(config['config_groups']) ?? {});
  const [name, content] = groups[0] ?? [];
  if (groups.length !== 1) only('config_groups', config['config_groups']);
  const ignore = description.names('ignore', config['ignore']);
  const common = { method: 'compressed-tensors', storedZero: 'literal', ignore } as const;
  if (Array.isArray(content)) {
    // A preset: its name says everything, the list is its targets.
    only('config_groups', name, ...Object.keys(PRESETS));
    only('targets', content, ['Linear']);
    return { ...common, group: 128, symmetric: PRESETS[name!]!, activationOrder: false };
  }
  const scheme = object(content) ?? {};
  only('targets', scheme['targets'], ['Linear']);
  only('format', scheme['format'], 'pack-quantized', null, undefined);
  only('input_activations', scheme['input_activations'], null, undefined);
  only('output_activations', scheme['output_activations'], null, undefined);
  const weights = object(scheme['weights']) ?? {};
  only('num_bits', weights['num_bits'], 4);
  only('type', weights['type'], 'int');
  only('symmetric', weights['symmetric'], true, false);
  only('dynamic', weights['dynamic'], false, undefined);
  only('actorder', weights['actorder'], ...GROUP_ORDER, ...NO_ORDER);
  only('strategy', weights['strategy'], 'group', 'channel');
  const size = weights['group_size'];
  const channel = weights['strategy'] === 'channel';
  if (channel) only('group_size', size, null, undefined, -1);
  else if (size === -1) description.refuse('group_size', size);
  return {
    ...common,
    group: channel ? 'channel' : description.group('group_size', size),
    symmetric: weights['symmetric'] === true,
    activationOrder: GROUP_ORDER.includes(weights['actorder']),
  };
}

export interface QuantizationJsonOptions {
  /** Default true. */
  readonly symmetric?: boolean;
  /** Default false. */
  readonly activationOrder?: boolean;
}

/** The `quantization_config` that tells every reader of the form how the tensors of `quantizedSpecs` are meant. */
export function quantizationConfigJson(
  group: number | 'channel',
  ignore: readonly string[],
  { symmetric = true, activationOrder = false }: QuantizationJsonOptions = {},
): Json {
  const weights = {
    num_bits: 4,
    type: 'int',
    symmetric,
    strategy: group === 'channel' ? 'channel' : 'group',
    group_size: group === 'channel' ? null : group,
    block_structure: null,
    dynamic: false,
    actorder: activationOrder ? 'group' : null,
    observer: 'minmax',
    observer_kwargs: {},
  };
  return {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    quantization_status: 'compressed',
    config_groups: { group_0: { targets: ['Linear'], weights, input_activations: null, output_activations: null } },
    ignore,
    kv_cache_scheme: null,
    global_compression_ratio: null,
  };
}
