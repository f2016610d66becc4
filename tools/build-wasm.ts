// Compiles the AssemblyScript kernels: with relaxed SIMD (fused products), the same for processors that lack a dot product of bytes, and without, for engines
// that lack it.
import { readFileSync, renameSync } from 'node:fs';
import asc from 'assemblyscript/asc';

const source = 'src/cpu/assembly/kernels.ts';
const common = [
  '-O3',
  '--runtime',
  'stub',
  '--noAssert',
  '--importMemory',
  '--sharedMemory',
  '--maximumMemory',
  '65536',
];
const features = ['--enable', 'simd', '--enable', 'threads', '--enable', 'bulk-memory'];

for (const [name, extra] of [
  ['relaxed', ['--enable', 'relaxed-simd']],
  ['pairs', ['--enable', 'relaxed-simd', '--use', 'NO_DOT_PRODUCT=ASC_FEATURE_SIMD']],
  ['plain', []],
] as const) {
  const target = `src/cpu/kernels.${name}.wasm`;
  const { error } = await asc.main([source, '--outFile', `${target}.tmp`, ...common, ...features, ...extra], {
    stderr: process.stderr,
  });
  if (error !== null) throw error;
  if (!WebAssembly.validate(readFileSync(`${target}.tmp`))) throw new Error(`${target} is not a valid module`);
  renameSync(`${target}.tmp`, target);
}
