// What a launch costs: this thread's time for an empty kernel, and the GPU's time for one in a graph.
import { median } from '../../src/base/stats.ts';
import type { BoundLaunch, Device } from '../../src/device/device.ts';
import { has } from '../../src/ptx/builder.ts';
import { kernel } from '../../src/ptx/kernel.ts';

/** Medians in microseconds for one launch. */
export interface LaunchCosts {
  /** This thread: a launch that checks and lays out its arguments each time, and one that was bound before. */
  readonly launch: number;
  readonly bound: number;
  /** The GPU: a kernel of a graph. */
  readonly inGraph: number;
  /** The same where each may start before the one ahead has ended; null where kernels cannot. */
  readonly inGraphOverlapping: number | null;
}

export interface LaunchCostOptions {
  readonly samples?: number;
  /** Launches of a sample: fewer than the about 1000 that the queue holds before a launch has to wait. */
  readonly burst?: number;
  readonly graphKernels?: number;
}

/** With parameters, as real kernels have them. */
const empty = kernel({ name: 'empty', threads: 32, params: { x: 'f32*', y: 'f32*', n: 'u32' } }, () => {});

export function launchCosts(
  device: Device,
  { samples = 31, burst = 500, graphKernels = 1000 }: LaunchCostOptions = {},
): LaunchCosts {
  using x = device.allocate(256, 'x');
  using loaded = device.load(empty);
  const args = { x, y: x, n: 1 };
  const bound = loaded.bind([1], args);
  const host = (launch: () => void): number => {
    const once = (): number => {
      device.synchronize();
      const start = performance.now();
      for (let i = 0; i < burst; i++) launch();
      return (1000 * (performance.now() - start)) / burst;
    };
    once();
    return median(Array.from({ length: samples }, once));
  };
  const inGraph = (launch: BoundLaunch): number => {
    using graph = device.graph(() => {
      for (let i = 0; i < graphKernels; i++) launch.launch();
    });
    const once = (): number => device.time(() => graph.launch()) / graphKernels;
    for (let i = 0; i < 3; i++) once();
    return median(Array.from({ length: samples }, once));
  };
  const overlaps = has(device.facts.arch, 'sm_90');
  return {
    launch: host(() => loaded.launch([1], args)),
    bound: host(() => bound.launch()),
    inGraph: inGraph(bound),
    inGraphOverlapping: overlaps ? inGraph(loaded.bind([1], args, { overlap: true })) : null,
  };
}
