// What all parts of `k` share: the builder behind them, and how an instruction with several results is emitted. Not for authors of kernels.
import type { Builder } from '../builder.ts';
import { classOf, type Op } from '../op.ts';
import type { Operand, Reg } from '../program.ts';
import { type Int, u32, U32 } from '../values.ts';

export const operandOf = (x: Int): Operand => (typeof x === 'number' ? u32(x) : x).operand;

export class TraceBase {
  protected readonly builder: Builder;

  constructor(builder: Builder) {
    this.builder = builder;
  }

  /** Emits `op` and returns fresh registers with its results. */
  protected results(op: Op, sources: readonly Operand[]): Reg[] {
    const dst = op.dst.map((kind) => this.builder.reg(classOf[kind]));
    this.builder.emit(op, dst, sources);
    return dst;
  }

  protected result(op: Op, sources: readonly Operand[]): Reg {
    return this.results(op, sources)[0]!;
  }

  protected effect(op: Op, sources: readonly Operand[] = []): void {
    this.builder.emit(op, [], sources);
  }

  protected special(op: Op): U32 {
    return new U32(this.builder.value(op, []), this.builder);
  }
}
