// The kernel for few tokens on Hopper among the families: tilings worth a thought, and about how long each takes. Estimates are for choosing only;
// what was measured (tuned.ts) is better.
import type { DeviceFacts } from '../../device/device.ts';
import type { Candidate, Family, Problem } from './family.ts';
import { runnable } from './family.ts';
import { STRIP_K, stripBytes, stripsAlongK } from './layout.ts';
import { stream, streamGrid, type StreamTiling } from './stream.ts';

const MOST_TOKENS = 16;
const HALF_BYTES = 2;
const MBARRIER_BYTES = 8;
/** What the runtime keeps of a multiprocessor's shared memory for each CTA. */
const RESERVED = 1024;

const STRIPS = [1, 2, 4] as const;
const ROW_WARPS = [1, 2, 4] as const;
const DEPTH_WARPS = [1, 2, 4, 8] as const;
const STAGES = [2, 3, 4] as const;
const MOST_WARPS = 16;

/** Bytes of a stage of a warp: strips and tokens. */
function stageBytes({ tokens, strips }: StreamTiling, { scheme }: Problem): number {
  return strips * stripBytes(scheme) + tokens * STRIP_K * HALF_BYTES;
}

function sharedBytesOf(tiling: StreamTiling, problem: Problem): number {
  const { rowWarps, depthWarps, stages } = tiling;
  const slots = rowWarps * depthWarps * stages;
  return slots * (stageBytes(tiling, problem) + MBARRIER_BYTES) + RESERVED;
}

function tilingsOf(problem: Problem, { sharedBytesPerBlock }: DeviceFacts): readonly StreamTiling[] {
  const tokens = problem.m <= 8 ? 8 : 16;
  return STRIPS.flatMap((strips) =>
    ROW_WARPS.flatMap((rowWarps) =>
      DEPTH_WARPS.flatMap((depthWarps) =>
        STAGES.map((stages): StreamTiling => ({ tokens, strips, rowWarps, depthWarps, stages })),
      ),
    ),
  ).filter(
    (tiling) =>
      tiling.rowWarps * tiling.depthWarps <= MOST_WARPS && sharedBytesOf(tiling, problem) <= sharedBytesPerBlock,
  );
}

/** Microseconds: launch and first bytes; the sums that warps hand each other; how long a byte is under way. */
const START = 2.2;
const MEETING = 0.15;
const LATENCY = 0.9;
/** Bytes a clock that a multiprocessor gets of the memory when all read. */
const MEMORY_RATE = 17.5;
/** Of a warp: clocks for a strip and tile of 8 tokens, all warps of a scheduler taking turns. */
const STRIP_CLOCKS = 60;
const SCHEDULERS = 4;

function costOf(tiling: StreamTiling, problem: Problem, facts: DeviceFacts): number {
  const { tokens, strips, rowWarps, depthWarps, stages } = tiling;
  const { multiprocessors, clockHz, sharedBytesPerBlock } = facts;
  const clocks = clockHz / 1e6;
  const ctas = streamGrid(problem, tiling);
  const together = Math.max(1, Math.floor(sharedBytesPerBlock / sharedBytesOf(tiling, problem)));
  // CTAs of the busiest multiprocessor.
  const each = Math.ceil(ctas / multiprocessors);
  const atOnce = Math.min(together, each);
  const turns = Math.ceil(each / together);
  const blocks = Math.ceil(stripsAlongK(problem) / depthWarps);
  const ctaBytes = strips * rowWarps * stripsAlongK(problem) * stripBytes(problem.scheme);
  const inFlight = atOnce * rowWarps * depthWarps * Math.min(stages, blocks) * strips * stripBytes(problem.scheme);
  const rate = Math.min(MEMORY_RATE * clocks, inFlight / LATENCY);
  // Memory that idle multiprocessors leave over serves the others, up to twice their part.
  const share = Math.min(2, (multiprocessors * each) / ctas);
  const memory = (each * ctaBytes) / Math.min(rate * share, inFlight / LATENCY);
  const arithmetic =
    (each * strips * rowWarps * stripsAlongK(problem) * STRIP_CLOCKS * (tokens / 8)) / SCHEDULERS / clocks;
  return START + turns * LATENCY + Math.max(memory, arithmetic) + MEETING * Math.log2(2 * depthWarps);
}

export const streamFamily: Family = {
  name: 'stream',
  needs: 'sm_90',
  tokens: [1, MOST_TOKENS],
  candidates: (problem, facts) =>
    tilingsOf(problem, facts).map((tiling): Candidate => {
      const { n, k, scheme, type } = problem;
      return {
        kernel: 'stream',
        tiling: { ...tiling },
        grid: [streamGrid({ n, k }, tiling)],
        cost: costOf(tiling, problem, facts),
        workspaceBytes: 0,
        build: (epilogue) =>
          runnable(stream({ n, k }, tiling, { type, scheme, epilogue }), ({ strips, factors, bias, x, y, tokens }) => ({
            x: { buffer: x, rows: tokens, columns: k },
            strips,
            factors,
            bias,
            y,
            m: tokens,
          })),
      };
    }),
};
