// A trained model against logits that PyTorch computed in float32 from the same 16-bit weights.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { argmax, relativeError } from '../base/stats.ts';
import { openModel } from './language-model.ts';

const folder = fileURLToPath(new URL('../../../shared/data/storyteller-29m', import.meta.url));
const skip = existsSync(folder) ? false : 'the model is not beside the checkout (../shared/data/storyteller-29m)';

test('storyteller-29m gives the logits of PyTorch', { skip }, () => {
  const schema = z.object({ token_ids: z.array(z.array(z.int())), greedy_next: z.array(z.int()) });
  const record = schema.parse(JSON.parse(readFileSync(join(folder, 'ref_logits.json'), 'utf8')));
  const expected = readNpyFloats(join(folder, 'ref_logits.npy'));
  using model = openModel(folder);
  const { vocabSize } = model.config;
  let [at, equal, positions] = [0, 0, 0];
  for (const [text, ids] of record.token_ids.entries()) {
    let next = -1;
    for (const rows of model.newSequence().score(ids)) {
      const expectedRows = expected.subarray(at, at + rows.length);
      at += rows.length;
      // 1.8e-6 measured: both sides round to f32.
      const error = relativeError(rows, expectedRows);
      assert.ok(error <= 1e-5, `relative error ${error} in text ${text}`);
      for (let start = 0; start < rows.length; start += vocabSize, positions++) {
        next = argmax(rows.subarray(start, start + vocabSize));
        if (next === argmax(expectedRows.subarray(start, start + vocabSize))) equal++;
      }
    }
    assert.equal(next, record.greedy_next[text]);
  }
  assert.equal(at, expected.length);
  assert.ok(equal >= 0.99 * positions, `the likeliest token is the same at ${equal} of ${positions} positions`);
});

/** The values of a little-endian float32 .npy file of version 1: after 10 bytes and a header, whose length is in the last two of them. */
function readNpyFloats(path: string): Float32Array {
  const file = readFileSync(path);
  const start = 10 + file.readUInt16LE(8);
  assert.match(file.toString('latin1', 0, start), /^.NUMPY.*'<f4', 'fortran_order': False/s);
  return new Float32Array(Uint8Array.from(file.subarray(start)).buffer);
}
