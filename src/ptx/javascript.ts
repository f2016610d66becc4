// Text to JavaScript function: how meanings of instructions become code, for folding (values.ts) and for the simulator.

/** The value of `source`, a function body over the named parameters, called with `values`. The text is the project's own, never a user's. */
export function evaluate(names: readonly string[], source: string, values: readonly unknown[]): unknown {
  // oxlint-disable-next-line typescript/no-implied-eval -- compiled, a warp instruction takes 0.5 us; walked as a tree 3 us
  const body = new Function(...names, source);
  const result: unknown = body(...values);
  return result;
}
