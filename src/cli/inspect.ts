// marlin inspect: what is in a checkpoint, and which kernel each matrix would get.
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { Checkpoint } from '../formats/checkpoint.ts';
import { type ModelConfig, readModelConfig } from '../formats/config.ts';
import { reading } from '../formats/files.ts';
import { kernelFor } from '../model/cpu.ts';
import { path as pathOf } from './flags.ts';
import { bytesOf, type Module, modulesOf, overLayers, parametersOf } from './modules.ts';
import type { Output } from './output.ts';
import { megabytes, table } from './table.ts';
import type { Verb } from './verb.ts';

function run(path: string, output: Output): unknown {
  // A single file says nothing of a network, so of no kernels either.
  const config = reading(path, () => statSync(path)).isDirectory() ? readModelConfig(path) : null;
  using checkpoint = Checkpoint.open(path);
  const modules = modulesOf(checkpoint);
  const kernel = ({ kind }: Module): string => (config === null || kind === null ? '-' : kernelFor(kind));
  const size = {
    parameters: modules.reduce((sum, module) => sum + parametersOf(module), 0),
    bytes: bytesOf(modules),
    kvBytesPerToken: config === null ? null : 2 * config.layers * config.kvHeads * config.headDim * 4,
  };
  output.text(
    `${path}: ${(size.parameters / 1e6).toFixed(1)} M parameters, ${megabytes(size.bytes)} in ${count(checkpoint.files.length, 'file')}\n`,
  );
  if (config !== null)
    output.text(
      `${architectureLine(config)}; keys and values ${megabytes(size.kvBytesPerToken ?? 0)} a token on the CPU\n`,
    );
  const rows = overLayers(modules).map(({ module, count: times }) => [
    module.name,
    times,
    module.shape.join(' x '),
    module.format,
    megabytes(module.bytes),
    kernel(module),
  ]);
  output.text(`\n${table(['module', 'count', 'shape', 'format', 'size', 'kernel'], rows)}`);
  return {
    path,
    architecture: config === null ? null : { ...config, raw: undefined },
    ...size,
    files: checkpoint.files.map((file) => ({
      path: file.path,
      tensors: file.tensors.size,
      metadata: Object.fromEntries(file.metadata),
    })),
    modules: modules.map(({ name, shape, format, bytes, kind }) => ({
      name,
      shape,
      format,
      bytes,
      kernel: kernel({ name, shape, format, bytes, kind }),
    })),
    tensors: [...checkpoint.tensors.values()].map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, bytes })),
  };
}

function architectureLine(config: ModelConfig): string {
  const { modelType, layers, hiddenSize, intermediateSize, heads, headDim, kvHeads, vocabSize, contextLength } = config;
  const tied = config.tiedEmbeddings ? ' (tied)' : '';
  return `${modelType}: ${layers} layers, hidden ${hiddenSize}, ffn ${intermediateSize}, ${heads} heads of ${headDim} (${kvHeads} key/value), vocabulary ${vocabSize}${tied}, context ${contextLength}`;
}

function count(n: number, unit: string): string {
  return `${n} ${unit}${n === 1 ? '' : 's'}`;
}

export const inspect: Verb = {
  name: 'inspect',
  examples: ['marlin inspect ./my-model', 'marlin inspect ./my-model/model.safetensors --json'],
  define: (command: Command, action) =>
    command
      .description('show what is in a checkpoint: architecture, tensors, formats, sizes, kernels')
      .argument('<path>', 'folder of a model, or one safetensors file', pathOf('<path>'))
      .action((path: string) => action((output) => run(path, output))),
};
