// How the CPU benchmarks measure: warm up, then many short runs, quoted by their median.
import { median } from '../src/base/stats.ts';

/** Median seconds of a call over `runs` runs of at least `runSeconds` each, after `warmSeconds` of warming up. */
export function seconds(call: () => void, runs = 15, runSeconds = 0.03, warmSeconds = 0.4): number {
  const repeat = (duration: number): number => {
    const started = performance.now();
    let calls = 0;
    while (performance.now() - started < duration * 1000) {
      call();
      calls++;
    }
    return (performance.now() - started) / 1000 / calls;
  };
  repeat(warmSeconds);
  return median(Array.from({ length: runs }, () => repeat(runSeconds)));
}
