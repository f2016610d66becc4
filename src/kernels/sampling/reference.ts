// What drawing a token means, in plain loops and float64: the rules of model/sampling.ts, and a random number that depends on seed, position and token
// alone.

export interface DrawParameters {
  /** From 0; 0 takes the largest logit. */
  readonly temperature: number;
  /** Only the k largest logits stay, and all that equal the smallest of them; 0: all. */
  readonly topK: number;
  /** Only the most probable stay, until their probabilities reach this sum, and all that equal the smallest of them; 1: all. */
  readonly topP: number;
  /** Only those at least this fraction as probable as the most probable; 0: all. */
  readonly minP: number;
  readonly seed: readonly [low: number, high: number];
}

/** The finalizer of splitmix32 (base/random.ts). */
function mix(bits: number): number {
  let z = bits;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return (z ^ (z >>> 15)) >>> 0;
}

/** In (0, 1), of 23 bits: equal for equal seeds, positions and tokens. */
export function uniformOf([low, high]: readonly [number, number], position: number, token: number): number {
  const step = mix(mix(low + 0x9e3779b9) ^ high) + Math.imul(position, 0x85ebca6b);
  return ((mix(mix(step) ^ Math.imul(token, 0x9e3779b9)) >>> 9) + 0.5) * 2 ** -23;
}

/** Whether each logit may be drawn. */
export function possible(logits: ArrayLike<number>, { temperature, topK, topP, minP }: DrawParameters): boolean[] {
  const all = Array.from(logits);
  const sorted = all.toSorted((a, b) => b - a);
  let least = topK > 0 && topK < all.length ? sorted[topK - 1]! : -Infinity;
  if (temperature === 0) return all.map((logit) => logit >= least);
  const weight = (logit: number): number => Math.exp((logit - sorted[0]!) / temperature);
  const kept = sorted.filter((logit) => logit >= least);
  const total = kept.reduce((sum, logit) => sum + weight(logit), 0);
  if (topP < 1) {
    let mass = 0;
    least = kept.find((logit) => (mass += weight(logit)) >= topP * total) ?? least;
  }
  return all.map((logit) => logit >= least && weight(logit) >= minP);
}

/**
 * What each token has to its credit; the largest is drawn, of equals the first. Logits plus `temperature` times Gumbel noise: the largest of them falls
 * on a token with its probability (Gumbel 1954; Maddison et al. 2014).
 */
export function creditsOf(logits: ArrayLike<number>, parameters: DrawParameters, position: number): Float64Array {
  const { temperature, seed } = parameters;
  return Float64Array.from(possible(logits, parameters), (may, token) =>
    may ? logits[token]! - temperature * Math.log(-Math.log1p(-uniformOf(seed, position, token))) : -Infinity,
  );
}
