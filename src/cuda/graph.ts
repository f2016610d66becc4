// Graphs: work captured from a stream once, launched as one thing many times.
import { errors } from '../base/errors.ts';
import type { Context, Work } from './context.ts';
import { type CUgraph, type CUgraphExec, handle } from './driver.ts';
import * as cuda from './header.ts';
import { checkContext, Resource } from './resource.ts';
import type { Capture, Stream } from './stream.ts';

/**
 * Captures what `enqueue` puts on `stream`; nothing runs. Other streams join by events: let them wait for an event of `stream`, and `stream` for one
 * of theirs at the end. Throws what `enqueue` throws, and leaves the stream usable then.
 * Errors: 'capture-invalid', 'disposed', 'gpu-context-dead', 'cuda-failed'.
 */
export function capture(stream: Stream, enqueue: () => void): Graph {
  const { context } = stream;
  if (stream.capture !== null) throw errors.captureInvalid(`${stream.title} is being captured already`);
  const begun: Capture = { works: new Set(), memory: new Set() };
  const mode = cuda.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
  context.check(context.enter().cuStreamBeginCapture(stream.handle, mode), 'cuStreamBeginCapture', stream.title);
  stream.capture = begun;
  let ended = false;
  const out = new BigUint64Array(1);
  const end = (): number => {
    ended = true;
    stream.capture = null;
    return context.enter().cuStreamEndCapture(stream.handle, out);
  };
  try {
    enqueue();
    context.check(end(), 'cuStreamEndCapture', stream.title);
  } finally {
    if (!ended) abandon(context, end, out);
  }
  return new Graph(context, handle(out[0]), begun);
}

/** Ends a capture whose work failed; whatever the driver says to that, the first failure is the one to tell. */
function abandon(context: Context, end: () => number, out: BigUint64Array): void {
  if (!context.alive) return;
  if (end() === cuda.CUDA_SUCCESS && out[0] !== 0n) context.enter().cuGraphDestroy(handle(out[0]));
}

/** Captured work. It can be disposed of once it is instantiated. */
export class Graph extends Resource<CUgraph> {
  readonly captured: Capture;

  constructor(context: Context, graph: CUgraph, captured: Capture) {
    super(context, 'the graph', graph, { call: 'cuGraphDestroy', run: (driver, it) => driver.cuGraphDestroy(it) });
    this.captured = captured;
  }

  /** Makes it launchable. Errors: 'disposed', 'gpu-context-dead', 'cuda-failed'. */
  instantiate(): GraphExec {
    const out = new BigUint64Array(1);
    const code = this.context.enter().cuGraphInstantiateWithFlags(out, this.handle, 0);
    this.context.check(code, 'cuGraphInstantiateWithFlags', describe(this.captured));
    return new GraphExec(this.context, handle(out[0]), this.captured);
  }
}

const UPDATE_REASONS: Readonly<Record<number, string>> = {
  [cuda.CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED]: 'it has other nodes or another order',
  [cuda.CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED]: 'a node is of another type',
  [cuda.CU_GRAPH_EXEC_UPDATE_ERROR_FUNCTION_CHANGED]: 'a node runs another kernel',
  [cuda.CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED]: 'parameters of a node have changed too much',
  [cuda.CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED]: 'a node is of a kind that cannot be updated',
  [cuda.CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE]: 'a node runs a kernel that cannot take the place',
  [cuda.CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED]: 'attributes of a launch have changed',
};

/** A graph ready to run. It holds no memory alive, but refuses to run once memory or a module it uses is disposed of. */
export class GraphExec extends Resource<CUgraphExec> implements Work {
  private captured: Capture;

  constructor(context: Context, exec: CUgraphExec, captured: Capture) {
    const run = 'cuGraphExecDestroy';
    super(context, 'the instantiated graph', exec, { call: run, run: (driver, it) => driver.cuGraphExecDestroy(it) });
    this.captured = captured;
  }

  get description(): string {
    return describe(this.captured);
  }

  /** Enqueues all of it. Errors: 'disposed' (itself, the stream, memory or a module it uses), 'context-foreign', 'gpu-fault', 'gpu-context-dead'. */
  launch(stream: Stream): void {
    checkContext(this.context, stream);
    for (const held of this.captured.memory) if (held.disposed) throw errors.disposed(held.title);
    const code = this.context.enter().cuGraphLaunch(this.handle, stream.handle);
    // The description of a large graph takes longer than its launch: made only when it is needed.
    if (code !== cuda.CUDA_SUCCESS) throw this.context.failure(code, 'cuGraphLaunch', this.description);
    stream.enqueued(this, this.captured.memory);
  }

  /** Takes over the parameters of a graph of the same shape, without instantiating again. Errors: 'graph-changed', 'context-foreign', 'disposed'. */
  update(graph: Graph): void {
    checkContext(this.context, graph);
    const result = new DataView(new ArrayBuffer(cuda.CUgraphExecUpdateResultInfo.bytes));
    const code = this.context.enter().cuGraphExecUpdate(this.handle, graph.handle, result);
    if (code === cuda.CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE) {
      const reason = result.getInt32(cuda.CUgraphExecUpdateResultInfo.result, true);
      throw errors.graphChanged(UPDATE_REASONS[reason] ?? `the driver says ${reason}`);
    }
    this.context.check(code, 'cuGraphExecUpdate', this.description);
    this.captured = graph.captured;
  }
}

const MOST_NAMED = 8;

function describe({ works }: Capture): string {
  const names = [...works].slice(0, MOST_NAMED).map((work) => work.description);
  const more = works.size > MOST_NAMED ? `; ${works.size - MOST_NAMED} more` : '';
  return names.length === 0 ? 'a graph without kernels' : `a graph of ${names.join('; ')}${more}`;
}
