// Step 2: a warp a row tile, on tensor cores. A word of codes is a fragment of A once unpacked; all tokens use it. Everything waits for memory.
import { kernel } from '../../../ptx/kernel.ts';
import { rows } from '../../../ptx/layout.ts';
import type { Program } from '../../../ptx/program.ts';
import { groupScaleF16, SCALED_FACTOR, scaledF16 } from '../codec.ts';
import { HALF_STRIP_BYTES, type MatrixSize, STEP_K, STEPS, STRIP_K, VECTOR_BYTES, VECTOR_STEPS } from '../layout.ts';
import { type LevelParams, PARAMS, SCALES, storeTile, stripsOf, TOKENS } from './operands.ts';

/** Grid: [n / 16]. */
export function tensorCores(size: MatrixSize): Program<LevelParams> {
  const [strips, activations] = [stripsOf(size), rows('f16', [TOKENS, size.k])];
  const alongK = size.k / STRIP_K;
  return kernel({ name: 'marlin_tensor_cores', threads: 32, params: PARAMS }, (k, p) => {
    const sums = k.accumulator();
    // A lane's part of B: token g, k 2c, 2c + 1 and the same 8 further on.
    const [g, c] = [k.lane.div(4), k.lane.mod(4)];
    k.loop(0, alongK, 1, (at) => {
      const strip = p.strips.at(strips.at(k.cta.x.mul(alongK).add(at), 0));
      const words = Array.from({ length: STEPS / VECTOR_STEPS }, (_, half) =>
        k.ldGlobal(strip.at(k.lane.mul(VECTOR_BYTES / 4).add((half * HALF_STRIP_BYTES) / 4)), 4),
      ).flat();
      const [pair] = k.ldGlobal(strip.at(g.add(SCALES)), 1);
      const scale = groupScaleF16(pair!, null);
      for (const [step, word] of words.entries()) {
        const x = p.x.at(
          activations.at(
            g,
            at
              .mul(STRIP_K)
              .add(c.mul(2))
              .add(STEP_K * step),
          ),
        );
        const [[low], [high]] = [k.ldGlobal(x, 1), k.ldGlobal(x.at(8), 1)];
        k.mma(sums, scaledF16(k, word, scale), k.fragB([low!.asF16x2(), high!.asF16x2()]));
      }
    });
    storeTile(k, size, k.cta.x, sums, p, [SCALED_FACTOR.f16, SCALED_FACTOR.f16]);
  });
}
