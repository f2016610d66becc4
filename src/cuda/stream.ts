// Streams: queues of work on the GPU. Remembers what was enqueued since the stream was last idle, so that a fault can be named, and collects
// what a capture holds on to. Knows no kernel.
import type { Context, Work } from './context.ts';
import { type CUstream, handle } from './driver.ts';
import type { CudaEvent } from './event.ts';
import { CU_STREAM_DEFAULT, CUDA_ERROR_NOT_READY } from './header.ts';
import { checkContext, Resource } from './resource.ts';

/** Device memory as far as a stream cares: a graph must not outlive it. */
export interface Held {
  readonly title: string;
  readonly disposed: boolean;
}

/** What a graph under capture has been given so far. */
export interface Capture {
  readonly works: Set<Work>;
  readonly memory: Set<Held>;
}

/** Enough to name what failed; beyond that the oldest is forgotten. */
const MOST_REMEMBERED = 256;

/**
 * A new stream. It is ordered with calls that take no stream (`copyToHost` without one waits for it). Errors: 'disposed', 'gpu-context-dead',
 * 'cuda-failed'.
 */
export function createStream(context: Context, label = 'work'): Stream {
  const out = new BigUint64Array(1);
  context.check(context.enter().cuStreamCreate(out, CU_STREAM_DEFAULT), 'cuStreamCreate');
  return new Stream(context, `the stream "${label}"`, handle(out[0]));
}

export class Stream extends Resource<CUstream> {
  /** The capture this stream is in; graph.ts sets it. */
  capture: Capture | null = null;
  private readonly works = new Set<Work>();

  constructor(context: Context, title: string, stream: CUstream) {
    super(context, title, stream, { call: 'cuStreamDestroy', run: (driver, it) => driver.cuStreamDestroy(it) });
    context.watch(this.works);
  }

  /** Waits until everything enqueued here is done. Errors: 'gpu-fault' naming the kernels if one has failed, 'gpu-context-dead', 'disposed'. */
  synchronize(): void {
    this.context.check(this.context.enter().cuStreamSynchronize(this.handle), 'cuStreamSynchronize', this.title);
    this.works.clear();
  }

  /** Whether everything enqueued here is done; does not wait. Errors: as `synchronize`. */
  done(): boolean {
    const code = this.context.enter().cuStreamQuery(this.handle);
    if (code === CUDA_ERROR_NOT_READY) return false;
    this.context.check(code, 'cuStreamQuery', this.title);
    this.works.clear();
    return true;
  }

  /** What is enqueued from now on waits for the event. Errors: 'context-foreign', 'disposed', 'gpu-context-dead', 'cuda-failed'. */
  wait(event: CudaEvent): void {
    checkContext(this.context, event);
    const code = this.context.enter().cuStreamWaitEvent(this.handle, event.handle, 0);
    this.context.check(code, 'cuStreamWaitEvent', this.title);
  }

  /** To be told of work that was just enqueued here. */
  enqueued(work: Work, memory: Iterable<Held>): void {
    if (this.capture !== null) {
      this.capture.works.add(work);
      this.holds(memory);
      return;
    }
    this.works.add(work);
    if (this.works.size > MOST_REMEMBERED) this.forgetOldest();
  }

  override [Symbol.dispose](): void {
    this.context.unwatch(this.works);
    super[Symbol.dispose]();
  }

  private forgetOldest(): void {
    for (const oldest of this.works) {
      this.works.delete(oldest);
      return;
    }
  }

  /** To be told which memory a copy or fill that was just enqueued here uses. */
  holds(memory: Iterable<Held>): void {
    if (this.capture !== null) for (const held of memory) this.capture.memory.add(held);
  }
}
