// A program for tests that uses every kind of control flow and most arithmetic.
import { kernel } from './kernel.ts';
import type { Program } from './program.ts';
import { half2, lut } from './values.ts';

const KEEP = lut((a, b, c) => (a & b) | c);
const HALF_1024 = 0x64006400;

/** Uses every kind of control flow and most arithmetic; what it computes does not matter here. */
export const everything: Program<{ readonly x: 'f32*'; readonly w: 'b32*'; readonly n: 'u32'; readonly scale: 'f32' }> =
  kernel(
    { name: 'everything', threads: 64, params: { x: 'f32*', w: 'b32*', n: 'u32', scale: 'f32' } },
    (k, { x, w, n, scale }) => {
      const [word] = k.ldGlobal(w.at(k.thread), 1, { readOnly: true });
      const low = word!.lop3(0x000f000f, HALF_1024, KEEP).asF16x2().sub(half2(1032));
      const high = word!
        .lop3(0x00f000f0, HALF_1024, KEEP)
        .asF16x2()
        .fma(half2(1 / 16), half2(-72));
      const sum = k.var(low.add(high).lower().f16ToF32().mul(scale));
      k.loop(0, n, 2, (i) => {
        k.if(
          i.mod(3).eq(0),
          () => sum.set(sum.fma(0.5, i.toF32())),
          () => sum.set(sum.max(-1).exp2()),
        );
      });
      const left = k.var(n.min(100));
      k.while(
        () => left.gt(1),
        () => left.set(left.shr(1)),
      );
      const other = k.shflIdx(sum, left.and(31));
      k.stF32(
        x.at(k.thread),
        k
          .select(other.lt(3), other.rsqrt(), other.neg())
          .add(word!.permute(0, 0x3210).rotate(7).asU32().div(10).toF32()),
      );
    },
  );
