// The part of `k` that says who a thread is and what it runs: indices, branches, loops, variables.
import * as lane from '../isa/lane.ts';
import * as warp from '../isa/warp.ts';
import { classOf, type Op } from '../op.ts';
import type { Reg } from '../program.ts';
import { moved } from '../value.ts';
import type { B32, Bf16x2, F16x2, F32, Int, Pred, S32, U32, U64, Var } from '../values.ts';
import { U32 as Unsigned } from '../values.ts';
import { here } from '../where.ts';
import { operandOf, TraceBase } from './base.ts';

type Mutable = U32 | S32 | U64 | B32 | F32 | F16x2 | Bf16x2 | Pred;

export interface Coordinates {
  readonly x: U32;
  readonly y: U32;
  readonly z: U32;
}

export class Control extends TraceBase {
  // ---- who am I
  get thread(): U32 {
    return this.special(warp.threadIndex);
  }
  get lane(): U32 {
    return this.thread.mod(32);
  }
  get warp(): U32 {
    return this.thread.div(32);
  }
  /** Four warps that issue wgmma together. */
  get warpgroup(): U32 {
    return this.thread.div(128);
  }
  get cta(): Coordinates {
    return this.coordinates(warp.ctaX, warp.ctaY, warp.ctaZ);
  }
  /** CTAs in the grid. */
  get grid(): Coordinates {
    return this.coordinates(warp.gridX, warp.gridY, warp.gridZ);
  }
  /** Only what is asked for is emitted. */
  private coordinates(x: Op, y: Op, z: Op): Coordinates {
    const special = (op: Op): U32 => this.special(op);
    return {
      get x() {
        return special(x);
      },
      get y() {
        return special(y);
      },
      get z() {
        return special(z);
      },
    };
  }
  /** The CTA's number in its cluster. */
  get clusterRank(): U32 {
    return this.special(warp.clusterRank);
  }

  // ---- control flow
  /** Runs `then` in the lanes where p holds, `otherwise` in the others. */
  if(p: Pred, then: () => void, otherwise?: () => void): void {
    const where = here();
    const condition = this.register(p);
    this.builder.push({
      kind: 'if',
      condition,
      body: this.builder.block(then),
      otherwise: otherwise === undefined ? null : this.builder.block(otherwise),
      where,
    });
  }

  /** A loop at run time (a TypeScript `for` unrolls): from, from + step, ... while below `to`. */
  loop(from: Int, to: Int, step: number, body: (i: U32) => void): void {
    const where = here();
    let index: Reg | null = null;
    const stmts = this.builder.block(() => {
      index = this.builder.reg('b32');
      body(new Unsigned(index, this.builder));
    });
    if (index === null) throw new TypeError('a loop without an index');
    this.builder.push({ kind: 'loop', index, from: operandOf(from), to: operandOf(to), step, body: stmts, where });
  }

  /** Runs `body` as long as `test` gives a predicate that holds. */
  while(test: () => Pred, body: () => void): void {
    const where = here();
    let condition: Reg | null = null;
    const testStmts = this.builder.block(() => {
      condition = this.register(test());
    });
    if (condition === null) throw new TypeError('a loop without a test');
    this.builder.push({ kind: 'while', test: testStmts, condition, body: this.builder.block(body), where });
  }

  private register(p: Pred): Reg {
    const { operand } = p;
    if ('id' in operand) return operand;
    throw new TypeError('the predicate is known while the kernel is built: use a TypeScript if');
  }

  /** A register with a first value, which inner blocks may set. */
  var<V extends Mutable>(first: V): Var<V> {
    const move = moveOf(first);
    const reg = this.builder.variable(classOf[move.dst[0]!]);
    this.builder.emit(move, [reg], [first.operand]);
    const set = (next: V): void => this.builder.emit(move, [reg], [next.operand]);
    return Object.assign(moved(first, reg, this.builder), { set });
  }

  /** yes where p holds, no elsewhere. */
  select<V extends U32 | S32 | B32 | F16x2 | Bf16x2 | F32>(p: Pred, yes: V, no: V): V {
    const op = yes.dtype === 'f32' ? lane.selectF32 : lane.selectB32;
    return moved(yes, this.builder.value(op, [yes.operand, no.operand, p.operand]), this.builder);
  }
}

function moveOf({ dtype }: Mutable): Op {
  if (dtype === 'f32') return lane.movF32;
  if (dtype === 'u64') return lane.movB64;
  return dtype === 'pred' ? lane.movPred : lane.movB32;
}
