// What attention over a cache means, in plain loops and float64.

/** Grouped-query heads over a cache of `context` positions: headDim 32, 64, 96 or 128; `heads` a multiple of `kvHeads`. */
export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly context: number;
}

/**
 * softmax(q . k / sqrt(headDim)) . v, each query over the positions up to its own. qkv [tokens, heads + 2 kvHeads, headDim], of which the queries are read; keys
 * and values [kvHeads, context, headDim]; the result [tokens, heads, headDim]. The first query stands at `position`.
 */
export function attentionReference(
  qkv: ArrayLike<number>,
  keys: ArrayLike<number>,
  values: ArrayLike<number>,
  position: number,
  tokens: number,
  { heads, kvHeads, headDim, context }: AttentionShape,
): Float64Array {
  const y = new Float64Array(tokens * heads * headDim);
  for (let token = 0; token < tokens; token++) {
    for (let head = 0; head < heads; head++) {
      const query = (token * (heads + 2 * kvHeads) + head) * headDim;
      const cache = Math.floor(head / (heads / kvHeads)) * context * headDim;
      const scores = Float64Array.from({ length: position + token + 1 }, (_, at) => {
        let sum = 0;
        for (let d = 0; d < headDim; d++) sum += qkv[query + d]! * keys[cache + at * headDim + d]!;
        return sum / Math.sqrt(headDim);
      });
      const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let d = 0; d < headDim; d++) {
        let sum = 0;
        for (const [at, weight] of weights.entries()) sum += weight * values[cache + at * headDim + d]!;
        y[(token * heads + head) * headDim + d] = sum / total;
      }
    }
  }
  return y;
}
