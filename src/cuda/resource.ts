// What all handles have in common: they belong to a context, are freed once, and say so when they are used afterwards. Knows no kind of handle.
import { errors } from '../base/errors.ts';
import type { Context } from './context.ts';
import type { CUresult, Driver } from './driver.ts';

/** How a kind of handle is freed: the C name of the call, and the call. */
export interface Destroy<H extends bigint> {
  readonly call: string;
  readonly run: (driver: Driver, handle: H) => CUresult;
}

/** A handle of the driver. `using` frees it at the end of the block; freeing twice, or after the context is gone or dead, does nothing. */
export abstract class Resource<H extends bigint> implements Disposable {
  readonly context: Context;
  /** What it is, within a sentence: 'the stream "copy"'. */
  readonly title: string;
  private current: H | null;
  private readonly destroy: Destroy<H>;

  constructor(context: Context, title: string, handle: H, destroy: Destroy<H>) {
    this.context = context;
    this.title = title;
    this.current = handle;
    this.destroy = destroy;
  }

  /** Errors: 'disposed'. */
  get handle(): H {
    if (this.current === null) throw errors.disposed(this.title);
    return this.current;
  }

  get disposed(): boolean {
    return this.current === null;
  }

  [Symbol.dispose](): void {
    const handle = this.current;
    if (handle === null) return;
    this.current = null;
    this.context.free(this.destroy.call, (driver) => this.destroy.run(driver, handle), this.title);
  }
}

/** Refuses what belongs to another context than `context`. Errors: 'context-foreign'. */
export function checkContext(context: Context, thing: { readonly context: Context; readonly title: string }): void {
  if (thing.context !== context) throw errors.contextForeign(thing.title);
}
