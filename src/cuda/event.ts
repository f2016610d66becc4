// Events: points in a stream that others wait for and between which time is told.
import { errors } from '../base/errors.ts';
import type { Context } from './context.ts';
import { type CUevent, handle } from './driver.ts';
import { CU_EVENT_DEFAULT, CU_EVENT_DISABLE_TIMING, CUDA_ERROR_NOT_READY } from './header.ts';
import { checkContext, Resource } from './resource.ts';
import type { Stream } from './stream.ts';

/** A new event. One that never tells time (`timing: false`) costs the GPU less. Errors: 'disposed', 'gpu-context-dead', 'cuda-failed'. */
export function createEvent(context: Context, options: { readonly timing?: boolean } = {}): CudaEvent {
  const timing = options.timing ?? true;
  const out = new BigUint64Array(1);
  const flags = timing ? CU_EVENT_DEFAULT : CU_EVENT_DISABLE_TIMING;
  context.check(context.enter().cuEventCreate(out, flags), 'cuEventCreate');
  return new CudaEvent(context, timing, handle(out[0]));
}

export class CudaEvent extends Resource<CUevent> {
  readonly timing: boolean;
  private wasRecorded = false;

  constructor(context: Context, timing: boolean, event: CUevent) {
    super(context, 'the event', event, { call: 'cuEventDestroy', run: (driver, it) => driver.cuEventDestroy(it) });
    this.timing = timing;
  }

  get recorded(): boolean {
    return this.wasRecorded;
  }

  /** Marks this point of the stream. Errors: 'context-foreign', 'disposed', 'gpu-context-dead', 'cuda-failed'. */
  record(stream: Stream): void {
    checkContext(this.context, stream);
    this.context.check(this.context.enter().cuEventRecord(this.handle, stream.handle), 'cuEventRecord');
    this.wasRecorded = true;
  }

  /** Waits until the stream has come to this point. Errors: 'gpu-fault', 'gpu-context-dead', 'disposed'. */
  synchronize(): void {
    this.context.check(this.context.enter().cuEventSynchronize(this.handle), 'cuEventSynchronize');
  }

  /** Whether the stream has come to this point; does not wait. Errors: as `synchronize`. */
  done(): boolean {
    const code = this.context.enter().cuEventQuery(this.handle);
    if (code === CUDA_ERROR_NOT_READY) return false;
    this.context.check(code, 'cuEventQuery');
    return true;
  }
}

const milliseconds = new Float32Array(1);

/**
 * Milliseconds from one event to another, to about half a microsecond (as cuda.h says). Both must have been passed.
 * Errors: 'event-invalid', 'context-foreign', 'disposed', 'gpu-context-dead'.
 */
export function elapsed(start: CudaEvent, end: CudaEvent): number {
  checkContext(start.context, end);
  if (!start.timing || !end.timing) throw errors.eventInvalid('one was made without timing');
  if (!start.recorded || !end.recorded) throw errors.eventInvalid('one has not been recorded');
  const code = start.context.enter().cuEventElapsedTime(milliseconds, start.handle, end.handle);
  if (code === CUDA_ERROR_NOT_READY) throw errors.eventInvalid('the GPU has not come to them yet');
  start.context.check(code, 'cuEventElapsedTime');
  return milliseconds[0]!;
}
