// The part of `k` for tensor cores: fragments from and to shared memory, products of a warp (mma), products of a warpgroup (wgmma).
import type { FragA, FragB, FragC, FragSparseA, Halves, MatrixSlab, WgmmaSums } from '../fragments.ts';
import * as matrix from '../isa/matrix.ts';
import * as wgmma from '../isa/wgmma.ts';
import type { Shared } from '../pointers.ts';
import { type ElemType, isReg, type Operand, type Reg } from '../program.ts';
import type { Value } from '../value.ts';
import { B32, Bf16x2, F16x2, F32, type Pred, type Var } from '../values.ts';
import { Lanes } from './lanes.ts';
import { selectB32 } from '../isa/lane.ts';

type Half = matrix.HalfType;

const operands = (values: readonly Value[]): Operand[] => values.map((value) => value.operand);
const registers = (values: readonly Value[]): Reg[] => operands(values).filter(isReg);

export class Matrices extends Lanes {
  private halves<T extends Half>(type: T, regs: readonly Reg[]): Halves<T>[];
  private halves(type: Half, regs: readonly Reg[]): (F16x2 | Bf16x2)[] {
    return regs.map((reg) => (type === 'f16' ? new F16x2(reg, this.builder) : new Bf16x2(reg, this.builder)));
  }

  // ---- fragments
  /** A 16 x 16 fragment of A: lane l gives the address of row l % 16, columns 8 (l / 16) on. */
  ldmatrixA<T extends Half>(from: Shared<T>): FragA<T> {
    const [a, b, c, d] = this.halves(from.elem, this.results(matrix.ldmatrix(4), [from.operand]));
    return { role: 'A 16x16', type: from.elem, values: [a!, b!, c!, d!] };
  }
  /** A 16 x 8 fragment of B from rows of its transpose: lane l gives the address of row l % 8, columns 8 (l / 8 % 2) on. */
  ldmatrixB<T extends Half>(from: Shared<T>): FragB<T> {
    const [a, b] = this.halves(from.elem, this.results(matrix.ldmatrix(2), [from.operand]));
    return { role: 'B 16x8', type: from.elem, values: [a!, b!] };
  }
  /** Two of them at once, of 16 rows: lane l gives the address of row l % 8 + 8 (l / 16), columns 8 (l / 8 % 2) on. Or one of 32 k, for mmaSparse: row l % 8, columns 8 (l / 8) on. */
  ldmatrixB2<T extends Half>(from: Shared<T>): readonly [FragB<T>, FragB<T>] {
    const [a, b, c, d] = this.halves(from.elem, this.results(matrix.ldmatrix(4), [from.operand]));
    return [
      { role: 'B 16x8', type: from.elem, values: [a!, b!] },
      { role: 'B 16x8', type: from.elem, values: [c!, d!] },
    ];
  }
  /** One, two or four 8 x 8 matrices of 16-bit elements, as words: lane 8 m + r gives the address of row r of matrix m. */
  ldmatrix(
    from: Shared<ElemType>,
    count: 1 | 2 | 4,
    { transposed = false }: { readonly transposed?: boolean } = {},
  ): readonly B32[] {
    return this.results(matrix.ldmatrix(count, transposed), [from.operand]).map((reg) => new B32(reg, this.builder));
  }
  /** The way back. */
  stmatrix(
    to: Shared<ElemType>,
    values: readonly [B32] | readonly [B32, B32] | readonly [B32, B32, B32, B32],
    { transposed = false }: { readonly transposed?: boolean } = {},
  ): void {
    this.effect(matrix.stmatrix(values.length, transposed), [to.operand, ...operands(values)]);
  }

  /** A fragment of A made in registers: a0, a1 = row g, row g + 8 at k 2c, 2c + 1; a2, a3 the same 8 further on. */
  fragA(values: readonly [F16x2, F16x2, F16x2, F16x2]): FragA {
    return { role: 'A 16x16', type: 'f16', values };
  }
  fragABf16(values: readonly [Bf16x2, Bf16x2, Bf16x2, Bf16x2]): FragA<'bf16'> {
    return { role: 'A 16x16', type: 'bf16', values };
  }
  fragB(values: readonly [F16x2, F16x2]): FragB {
    return { role: 'B 16x8', type: 'f16', values };
  }
  fragBBf16(values: readonly [Bf16x2, Bf16x2]): FragB<'bf16'> {
    return { role: 'B 16x8', type: 'bf16', values };
  }
  /** Kept weights with the word that says which they are. */
  sparse<T extends Half>(kept: FragA<T>, metadata: B32, selector: 0 | 1): FragSparseA<T> {
    return { role: 'A 16x32, 2:4', type: kept.type, values: kept.values, metadata, selector };
  }

  private zero(): Var<F32> {
    return this.var(new F32({ bits: 0 }, null));
  }

  // ---- products of a warp
  /** A fragment of sums, all zero. */
  accumulator(): FragC {
    return { role: 'C 16x8', values: [this.zero(), this.zero(), this.zero(), this.zero()] };
  }
  /** acc += a . b */
  mma<T extends Half>(acc: FragC, a: FragA<T>, b: FragB<NoInfer<T>>): void {
    const sources = [...operands(a.values), ...operands(b.values), ...operands(acc.values)];
    this.builder.emit(matrix.mma(a.type), registers(acc.values), sources);
  }
  /** acc += a . b over 32 k; `b` holds k 0 .. 15 and 16 .. 31. */
  mmaSparse<T extends Half>(acc: FragC, a: FragSparseA<T>, b: readonly [FragB<NoInfer<T>>, FragB<NoInfer<T>>]): void {
    const right = b.flatMap(({ values }) => operands(values));
    const sources = [...operands(a.values), ...right, ...operands(acc.values), a.metadata.operand];
    this.builder.emit(matrix.mmaSparse(a.type, a.selector), registers(acc.values), sources);
  }

  // ---- products of a warpgroup
  /** 64 x n sums, all zero. */
  wgmmaSums(n: number): WgmmaSums {
    return { role: 'sums 64xn', n, values: Array.from({ length: n / 2 }, () => this.zero()) };
  }

  /**
   * An operand in shared memory, K-major in rows of 128 bytes, swizzled as bulk copies do it (layout `swizzled`); `row` first rows of 8 on.
   * `advance` counts bytes of k from the start of the row: a step takes 32.
   */
  slab<T extends Half>(from: Shared<T>, advance = 0): MatrixSlab<T> {
    return this.slabOf(from.elem, from, { swizzle: 128, strideBytes: 1024, leadingBytes: 16 }, advance);
  }
  /** The same of any layout, and of 8-bit types. */
  slabOf<T extends wgmma.WgmmaType>(
    type: T,
    from: Shared<ElemType>,
    layout: wgmma.MatrixLayout,
    advance = 0,
  ): MatrixSlab<T> {
    const low = from.address.add(advance).shr(4).and(0x3fff).or(wgmma.descriptorLow(layout));
    return { role: 'slab', type, low, layout };
  }

  /** Before the first product, and after other instructions touched its registers. */
  wgmmaFence(): void {
    this.effect(wgmma.fenceMatrix);
  }
  /**
   * sums += a . b, or sums = a . b where `accumulate` says no: 64 rows of a, n rows of b, 16 k (32 for 8-bit types). Goes on until the wait for its
   * group; until then neither its registers nor its shared memory may be touched.
   */
  wgmma<T extends Half>(sums: WgmmaSums, a: FragA<T>, b: MatrixSlab<NoInfer<T>>, accumulate?: boolean | Pred): void;
  wgmma<T extends wgmma.WgmmaType>(
    sums: WgmmaSums,
    a: MatrixSlab<T>,
    b: MatrixSlab<NoInfer<T>>,
    accumulate?: boolean | Pred,
  ): void;
  wgmma(
    sums: WgmmaSums,
    a: FragA<Half> | MatrixSlab<wgmma.WgmmaType>,
    b: MatrixSlab<wgmma.WgmmaType>,
    accumulate: boolean | Pred = true,
  ): void {
    const op = wgmma.wgmma({
      n: sums.n,
      type: b.type,
      a: a.role === 'slab' ? a.layout : null,
      b: b.layout,
      sparse: null,
    });
    const left = a.role === 'slab' ? [a.low.operand] : operands(a.values);
    const sources = [...left, b.low.operand, this.flag(accumulate), ...operands(sums.values)];
    this.builder.emit(op, registers(sums.values), sources);
  }
  /** The same of 8-bit weights in registers: four consecutive k in a word. */
  wgmmaBytes<T extends 'e4m3' | 'e5m2'>(
    sums: WgmmaSums,
    a: readonly [B32, B32, B32, B32],
    b: MatrixSlab<T>,
    accumulate: boolean | Pred = true,
  ): void {
    const op = wgmma.wgmma({ n: sums.n, type: b.type, a: null, b: b.layout, sparse: null });
    const sources = [...operands(a), b.low.operand, this.flag(accumulate), ...operands(sums.values)];
    this.builder.emit(op, registers(sums.values), sources);
  }
  /** The same of 2:4 weights over 32 k. */
  wgmmaSparse<T extends Half>(
    sums: WgmmaSums,
    a: FragSparseA<T>,
    b: MatrixSlab<NoInfer<T>>,
    accumulate: boolean | Pred = true,
  ): void {
    const op = wgmma.wgmma({ n: sums.n, type: a.type, a: null, b: b.layout, sparse: a.selector });
    const right = [b.low.operand, this.flag(accumulate), a.metadata.operand];
    this.builder.emit(op, registers(sums.values), [...operands(a.values), ...right, ...operands(sums.values)]);
  }
  /** Closes the group of products begun since the last commit. */
  wgmmaCommit(): void {
    this.effect(wgmma.commitMatrix);
  }
  /** Waits until at most `pending` groups are under way. */
  wgmmaWait(pending: number): void {
    this.effect(wgmma.waitMatrix(pending));
  }

  private flag(accumulate: boolean | Pred): Operand {
    if (typeof accumulate === 'boolean') return { bits: accumulate ? 1 : 0 };
    return this.builder.value(selectB32, [{ bits: 1 }, { bits: 0 }, accumulate.operand]);
  }
}
