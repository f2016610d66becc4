// A kernel's own roofline: how long what it did takes at the least, by each limit of a device, and which limit that is. Pure arithmetic.
// Williams, Waterman, Patterson: Roofline, CACM 2009; here with one roof for each unit that the simulator counts.
import type { Counters } from './counters.ts';

/** What a device can do at most, all of it together. */
export interface DeviceFigures {
  /** Of global memory. */
  readonly bytesPerSecond: number;
  /** Multiplications and additions of tensor cores, dense, of the type that the kernel uses. */
  readonly tensorPerSecond: number;
  /** Turns of shared memory: one an SM and clock. */
  readonly wavefrontsPerSecond: number;
  /** Instructions of a warp: four an SM and clock on all chips from sm_80 on. */
  readonly instructionsPerSecond: number;
}

export type Limit = 'memory' | 'tensor cores' | 'shared memory' | 'instructions';

export interface Roofline {
  /** Seconds that each unit needs at the least, were the others free. */
  readonly seconds: Readonly<Record<Limit, number>>;
  /** The unit that needs longest. */
  readonly bottleneck: Limit;
  /** That time: no run is faster. */
  readonly least: number;
  /** Operations of tensor cores a byte of global memory; 0 without any. */
  readonly intensity: number;
  /** The intensity from which on tensor cores, not memory, are the limit. */
  readonly ridge: number;
  /** Bytes asked for among those that sectors moved: 1 when nothing is moved in vain, more when lanes ask for the same bytes. */
  readonly coalescing: number;
}

const SECTOR_BYTES = 32;

/** Figures of a chip: SMs, clock in Hz, bytes a second of memory, dense operations of a tensor core unit a clock and SM. */
export function deviceFigures(chip: {
  readonly sms: number;
  readonly clock: number;
  readonly bytesPerSecond: number;
  readonly tensorPerClock: number;
}): DeviceFigures {
  const clocks = chip.sms * chip.clock;
  return {
    bytesPerSecond: chip.bytesPerSecond,
    tensorPerSecond: clocks * chip.tensorPerClock,
    wavefrontsPerSecond: clocks,
    instructionsPerSecond: 4 * clocks,
  };
}

/** Memory is counted in sectors as the lanes touch them: caches may serve some of them, so that its time is an upper bound of the least one where data is read again. */
export function roofline(counters: Readonly<Counters>, device: DeviceFigures): Roofline {
  const { sectors, tensorOperations, wavefronts, instructions, globalRead, globalWritten } = counters;
  const moved = sectors * SECTOR_BYTES;
  const times: readonly (readonly [Limit, number])[] = [
    ['memory', moved / device.bytesPerSecond],
    ['tensor cores', tensorOperations / device.tensorPerSecond],
    ['shared memory', wavefronts / device.wavefrontsPerSecond],
    ['instructions', instructions / device.instructionsPerSecond],
  ];
  const [bottleneck, least] = times.reduce((most, time) => (time[1] > most[1] ? time : most));
  const [memory, tensor, shared, issue] = times.map(([, seconds]) => seconds);
  return {
    seconds: { memory: memory!, 'tensor cores': tensor!, 'shared memory': shared!, instructions: issue! },
    bottleneck,
    least,
    intensity: moved === 0 ? 0 : tensorOperations / moved,
    ridge: device.tensorPerSecond / device.bytesPerSecond,
    coalescing: moved === 0 ? 1 : (globalRead + globalWritten) / moved,
  };
}
