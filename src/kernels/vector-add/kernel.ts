// c = a + b in f32: the smallest kernel, an element a thread.
import { kernel } from '../../ptx/kernel.ts';
import type { Program } from '../../ptx/program.ts';

export type VectorAddParams = { readonly a: 'f32*'; readonly b: 'f32*'; readonly c: 'f32*'; readonly n: 'u32' };

/** Threads of a CTA, and the elements it takes. */
export const THREADS = 256;

/** Grid: [n / 256], rounded up. */
export const vectorAdd: Program<VectorAddParams> = kernel(
  { name: 'vector_add', threads: THREADS, params: { a: 'f32*', b: 'f32*', c: 'f32*', n: 'u32' } },
  (k, { a, b, c, n }) => {
    const i = k.cta.x.mul(THREADS).add(k.thread);
    k.if(i.lt(n), () => k.stF32(c.at(i), k.ldF32(a.at(i)).add(k.ldF32(b.at(i)))));
  },
);
