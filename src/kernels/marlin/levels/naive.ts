// Step 1: a thread an output. Every weight is unpacked for every token, and read as often.
import { kernel } from '../../../ptx/kernel.ts';
import { rows } from '../../../ptx/layout.ts';
import type { Program } from '../../../ptx/program.ts';
import { f32 } from '../../../ptx/values.ts';
import { codePlace, type MatrixSize, STRIP_K, STRIP_ROWS } from '../layout.ts';
import { SYMMETRIC_ZERO } from '../pack.ts';
import { type LevelParams, PARAMS, SCALES, stripsOf, TOKENS } from './operands.ts';

/** Grid: [n / 16]. */
export function naive(size: MatrixSize): Program<LevelParams> {
  const [strips, activations, out] = [stripsOf(size), rows('f16', [TOKENS, size.k]), rows('f32', [TOKENS, size.n])];
  const alongK = size.k / STRIP_K;
  return kernel({ name: 'marlin_naive', threads: STRIP_ROWS * TOKENS, params: PARAMS }, (k, p) => {
    const [row, token] = [k.thread.mod(STRIP_ROWS), k.thread.div(STRIP_ROWS)];
    const [g, below] = [row.mod(8), row.div(8)];
    const sum = k.var(f32(0));
    k.loop(0, alongK, 1, (at) => {
      const strip = p.strips.at(strips.at(k.cta.x.mul(alongK).add(at), 0));
      // The scales of rows g and g + 8 are the halves of a word.
      const [pair] = k.ldGlobal(strip.at(g.add(SCALES)), 1);
      const scale = pair!.shr(below.mul(16)).asF16x2().lower().f16ToF32();
      for (let inStrip = 0; inStrip < STRIP_K; inStrip++) {
        // Where the code of row 0 lies: row g is four lanes, of 16 bytes each, further on per row; row g + 8 in the next nibble.
        const { word, nibble } = codePlace(0, inStrip);
        const [codes] = k.ldGlobal(strip.at(g.mul(16).add(word / 4)), 1);
        const code = codes!.shr(below.add(nibble).mul(4)).and(15).asU32();
        const weight = code.toF32().sub(SYMMETRIC_ZERO).mul(scale);
        const x = k.ldB16(p.x.at(activations.at(token, at.mul(STRIP_K).add(inStrip))));
        sum.set(weight.fma(x.f16ToF32(), sum));
      }
    });
    const channel = k.cta.x.mul(STRIP_ROWS).add(row);
    k.stF32(p.y.at(out.at(token, channel)), sum.mul(k.ldF32(p.factors.at(channel))));
  });
}
