// Frequencies of the rotary position embedding, with the scalings that Llama-family models use.
import type { ModelConfig } from '../formats/config.ts';

/**
 * Radians a position for each of headDim / 2 pairs: theta^(-2i / headDim) (Su et al. 2021, section 3.2.2), then
 * - linear: divided by the factor (Chen et al. 2023);
 * - llama3: wavelengths beyond originalContext / lowFreqFactor divided by the factor, those below originalContext / highFreqFactor kept,
 *   a straight blend of both between (Llama 3.1 as released, mirrored by transformers' `_compute_llama3_parameters`).
 */
export function ropeFrequencies(config: Pick<ModelConfig, 'headDim' | 'ropeTheta' | 'ropeScaling'>): Float64Array {
  const { headDim, ropeTheta, ropeScaling: scaling } = config;
  const base = Float64Array.from({ length: headDim / 2 }, (_, i) => ropeTheta ** ((-2 * i) / headDim));
  if (scaling === null) return base;
  if (scaling.type === 'linear') return base.map((frequency) => frequency / scaling.factor);
  const { factor, lowFreqFactor, highFreqFactor, originalContextLength } = scaling;
  return base.map((frequency) => {
    const turns = (originalContextLength * frequency) / (2 * Math.PI); // in the original context
    const kept = Math.min(1, Math.max(0, (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor)));
    return frequency * (kept + (1 - kept) / factor);
  });
}
