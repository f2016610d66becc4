// The table: for every instruction of src/ptx/isa a small program that says what it does, to be run by the simulator and by a GPU.
// Instructions that a lane computes alone have one program each in lane-programs.fixture.ts.
import { atomicPrograms } from './atomics.fixture.ts';
import { boxPrograms } from './boxes.fixture.ts';
import { clusterPrograms } from './clusters.fixture.ts';
import { copyPrograms } from './copies.fixture.ts';
import type { InstructionProgram } from './define.fixture.ts';
import { matrixPrograms } from './matrices.fixture.ts';
import { memoryPrograms } from './memory.fixture.ts';
import { messagePrograms, warpPrograms } from './warp.fixture.ts';
import { wgmmaPrograms } from './wgmma.fixture.ts';

export const instructionThemes: Readonly<Record<string, readonly InstructionProgram[]>> = {
  memory: memoryPrograms,
  atomics: atomicPrograms,
  warp: warpPrograms,
  messages: messagePrograms,
  copies: copyPrograms,
  boxes: boxPrograms,
  clusters: clusterPrograms,
  matrices: matrixPrograms,
  wgmma: wgmmaPrograms,
};

export const instructionPrograms: readonly InstructionProgram[] = Object.values(instructionThemes).flat();
