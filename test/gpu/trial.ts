// What is tried on a GPU: a name, and a body that says how it went. Knows no trial.
import type { Device } from '../../src/device/device.ts';

export interface Verdict {
  readonly ok: boolean;
  readonly detail: string;
}

export interface Trial {
  readonly name: string;
  readonly run: (device: Device) => Verdict;
}

/** An error is a verdict too. */
export function judge({ name, run }: Trial, device: Device): Verdict & { readonly name: string } {
  try {
    return { name, ...run(device) };
  } catch (error) {
    return { name, ok: false, detail: String(error) };
  }
}

/** Of a relative error and its bound. */
export const within = (error: number, bound: number, what = 'relative error'): Verdict => ({
  ok: error <= bound,
  detail: `${what} ${error.toExponential(1)} (at most ${bound})`,
});
