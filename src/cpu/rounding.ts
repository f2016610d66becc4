// How activations are rounded for the 4-bit product; a file of its own, so that the package's public types do not reach into the backend.

/** 8 or 16 bits, one scale per token and chunk of up to 128 inputs (docs/numerics.md). */
export type ActivationBits = 8 | 16;
