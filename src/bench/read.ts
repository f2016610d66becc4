// How long a device takes to read so many bytes that are in no cache: the best of a few ways.
import type { BoundLaunch, Device, DeviceBuffer, DeviceFacts } from '../device/device.ts';
import { has } from '../ptx/builder.ts';
import type { Program } from '../ptx/program.ts';
import { readBulk, type ReadParams, readWide, sumWords } from '../kernels/read/kernel.ts';

interface Way {
  readonly ctas: number;
  readonly program: Program<ReadParams>;
}

/** Which is the fastest depends on the size: many CTAs with short copies for few bytes, long copies for many. */
function waysOf(bytes: number, { arch, multiprocessors }: DeviceFacts): readonly Way[] {
  const wide = [
    [4, 4],
    [2, 8],
    [8, 8],
  ].map(([each = 1, unroll = 1]) => {
    const ctas = each * multiprocessors;
    return { ctas, program: readWide(bytes, { ctas, unroll }) };
  });
  if (!has(arch, 'sm_90')) return wide;
  const bulk = [
    [3, 16_384, 4],
    [3, 32_768, 2],
    [2, 32_768, 3],
  ].map(([each = 1, chunk = 4096, stages = 1]) => {
    const ctas = each * multiprocessors;
    return { ctas, program: readBulk(bytes, { ctas, chunk, stages }) };
  });
  return [...wide, ...bulk];
}

/** For each way its launches over the buffers, in turn. What they need lives as long as `owned`. Errors: those of the device. */
export function bindReads(device: Device, buffers: readonly DeviceBuffer[], owned: DisposableStack): BoundLaunch[][] {
  return waysOf(buffers[0]!.bytes, device.facts).map(({ ctas, program }) => {
    const sums = owned.use(device.allocate(4 * sumWords({ ctas }), 'sums'));
    const loaded = owned.use(device.load(program));
    return buffers.map((from) => loaded.bind([ctas], { from, sums }));
  });
}
