// A seeded random stream, the same on every machine. For sampling, tests and benchmarks; not for secrets.

/** The finalizer of splitmix32: one to one on 32 bits, 0 stays 0. */
function mix(bits: number): number {
  let z = bits;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return (z ^ (z >>> 15)) >>> 0;
}

/** xoshiro128** (Blackman and Vigna 2018), its four words filled by splitmix32 from one seed. */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d: number;
  readonly seed: number;

  /** `seed`: any integer from 0 to 2^53 - 1; equal seeds give equal streams. */
  constructor(seed: number) {
    this.seed = seed;
    let low = seed >>> 0;
    const word = (): number => {
      low = (low + 0x9e3779b9) >>> 0;
      return mix(low);
    };
    this.a = word();
    this.b = word() ^ mix(Math.floor(seed / 2 ** 32)); // `mix` is one to one, so no two seeds share both words
    this.c = word();
    this.d = word() | 1; // never all zero
  }

  /** 32 uniform random bits, as an unsigned integer. */
  u32(): number {
    const x = Math.imul(this.b, 5);
    const result = Math.imul((x << 7) | (x >>> 25), 9) >>> 0;
    const t = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= t;
    this.d = (this.d << 11) | (this.d >>> 21);
    return result;
  }

  /** Uniform in [0, 1), 53 random bits. */
  uniform(): number {
    return (this.u32() * 2 ** 21 + (this.u32() >>> 11)) * 2 ** -53;
  }

  /** Uniform integer in [0, bound). */
  integer(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** Standard normal (Box-Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Fills `target` with normals of the given standard deviation and returns it. */
  fillNormal(target: Float32Array, deviation = 1): Float32Array {
    for (let i = 0; i < target.length; i++) target[i] = this.normal() * deviation;
    return target;
  }
}
