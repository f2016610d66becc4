// A driver without a GPU, for tests. Any call can be made to fail, and it keeps the real one's manners where the code above relies on them: a
// fault shows at the next call and stays, and without a current context nothing works. What the calls do says fake-driver.ts.
import type { CUresult, Driver } from './driver.ts';
import { type FakeOptions, fakeDriver, type FakeState } from './fake-driver.ts';
import { CUDA_ERROR_INVALID_CONTEXT, CUDA_SUCCESS } from './header.ts';

export interface Fake {
  readonly driver: Driver;
  /** Names of all calls so far. */
  readonly calls: string[];
  /** Makes the `nth` call of that name from now return `code` instead of doing anything. */
  fail(call: string, code: CUresult, nth?: number): void;
  /** Lets all calls from now on return `code`, as after a fault in a kernel. */
  die(code: CUresult): void;
  /** Handles and allocations that were made and not freed. */
  readonly live: number;
}

/** Answered whatever the context's state is. */
const WITHOUT_CONTEXT = /^cu(Init|DriverGetVersion|GetError|DeviceGet|DevicePrimaryCtx|DeviceTotalMem|CtxSetCurrent)/;
const WITHOUT_LIFE = /^cu(Init|DriverGetVersion|GetError|DeviceGet)/;
export function createFake(options: FakeOptions = {}): Fake {
  const state: FakeState = { death: CUDA_SUCCESS, current: 0n };
  const { driver, live } = fakeDriver(options, state);
  const calls: string[] = [];
  const failures: { readonly call: string; readonly code: CUresult; nth: number }[] = [];
  /** What a call returns instead of being made; null if it is made. */
  const refusal = (call: string): CUresult | null => {
    const due = failures.find((failure) => failure.call === call && --failure.nth === 0);
    if (due !== undefined) return due.code;
    if (state.death !== CUDA_SUCCESS && !WITHOUT_LIFE.test(call)) return state.death;
    return state.current === 0n && !WITHOUT_CONTEXT.test(call) ? CUDA_ERROR_INVALID_CONTEXT : null;
  };
  return {
    driver: new Proxy(driver, {
      get: (target, key) => {
        const call: unknown = Reflect.get(target, key);
        if (typeof call !== 'function') return call;
        return (...parameters: unknown[]): unknown => {
          calls.push(String(key));
          return refusal(String(key)) ?? Reflect.apply(call, target, parameters);
        };
      },
    }),
    calls,
    fail: (call, code, nth = 1) => failures.push({ call, code, nth }),
    die: (code) => {
      state.death = code;
    },
    get live() {
      return live();
    },
  };
}
