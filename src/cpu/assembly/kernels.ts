// What the module exports. Every kernel is a pure function of addresses in one shared memory; all of them may run on many threads at once.
export { w4Matrix, w4Vector8, w4Vector16 } from './w4';
export { w16Matrix, w16Rows, w16Vector } from './w16';
export { addRows, packRows, rmsNorm, roundActivations, siluMultiply, unpackRows } from './elementwise';
export { subtractDots } from './f64';
export { gram, gramPack } from './gram';
export { roundBlock, searchScales, subtractProduct } from './rounding';
export { attentionMatrix, attentionVector, ropeAndStore } from './attention';
