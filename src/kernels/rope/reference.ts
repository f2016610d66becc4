// What rotation by position and storing into the cache mean, in plain loops and float64.

export interface RopeShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Positions of the cache. */
  readonly context: number;
}

/** One head rotated: pairs (i, i + headDim / 2) turn by the angle whose cosine and sine are given. */
export function rotateReference(
  head: ArrayLike<number>,
  cosines: ArrayLike<number>,
  sines: ArrayLike<number>,
): Float64Array {
  const half = head.length / 2;
  return Float64Array.from({ length: head.length }, (_, i) => {
    const [a, b] = [head[i % half]!, head[(i % half) + half]!];
    const [c, s] = [cosines[i % half]!, sines[i % half]!];
    return i < half ? a * c - b * s : b * c + a * s;
  });
}

/** Rotates queries in place, keys into the cache; copies values there. Tables are [context, headDim / 2]. */
export function ropeReference(
  qkv: Float64Array,
  keys: Float64Array,
  values: Float64Array,
  tables: { readonly cosines: ArrayLike<number>; readonly sines: ArrayLike<number> },
  position: number,
  { heads, kvHeads, headDim, context }: RopeShape,
): void {
  const perToken = heads + 2 * kvHeads;
  const part = (table: ArrayLike<number>, at: number): number[] =>
    Array.from({ length: headDim / 2 }, (_, i) => table[(at * headDim) / 2 + i]!);
  for (let token = 0; token < qkv.length / (perToken * headDim); token++) {
    const at = position + token;
    for (let head = 0; head < perToken; head++) {
      const start = (token * perToken + head) * headDim;
      const vector = qkv.slice(start, start + headDim);
      const place = (kvHead: number): number => (kvHead * context + at) * headDim;
      if (head >= heads + kvHeads) values.set(vector, place(head - heads - kvHeads));
      else {
        const rotated = rotateReference(vector, part(tables.cosines, at), part(tables.sines, at));
        if (head < heads) qkv.set(rotated, start);
        else keys.set(rotated, place(head - heads));
      }
    }
  }
}
