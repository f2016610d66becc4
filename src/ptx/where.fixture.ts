// A helper in a file of its own that runs its caller's block in a loop.
import type { K } from './trace.ts';
import type { U32 } from './values.ts';

export function repeat(k: K, times: U32, body: (i: U32) => void): void {
  k.loop(0, times, 1, body);
}
