// Products of a warpgroup that go on while the warp does: which registers and which shared memory they hold until they are waited for.
// Each of the four warps is looked at by itself, with the 16 rows of A that are its own; that they issue together is not checked.
import { type Instr, isReg, type Operand } from '../../ptx/program.ts';
import { endAsyncRead, noteAsyncRead } from '../shadow/shared.ts';
import { WarpBarriers } from './barriers.ts';

const CHUNK = 16;

interface Group {
  readonly registers: Set<number>;
  readonly chunks: number[];
  readonly instrs: Instr[];
}

/** For programs without products. */
const NONE = new Int32Array(0);
const chunk = new Int32Array(4);

const emptyGroup = (): Group => ({ registers: new Set(), chunks: [], instrs: [] });

export class WarpMatrices extends WarpBarriers {
  /** Groups under way, oldest first, and what is begun since the last commit. */
  private readonly matrixGroups: Group[] = [];
  private openProducts: Group = emptyGroup();
  /** By register: how many groups under way use it; and whether another instruction used it since the last fence. Compiled code looks at both. */
  readonly held: Int32Array = this.launch.compiled.holds ? new Int32Array(this.launch.program.regs.length) : NONE;
  readonly touched: Int32Array = this.held === NONE ? NONE : new Int32Array(this.held.length).fill(1);

  readForMatrix(instr: Instr, address: number): Int32Array {
    const { shared } = this.home;
    if (address < 0 || address + CHUNK > shared.bytes.length) {
      const detail = `${this.name} multiplies 16 bytes at shared byte ${address} of ${shared.bytes.length}`;
      this.findings.report('out-of-bounds', instr.where, detail);
      return chunk.fill(0);
    }
    noteAsyncRead(shared, this.findings, this, this.accessOf(instr.where, 0, address, CHUNK));
    this.openProducts.chunks.push(address);
    for (let i = 0; i < 4; i++) chunk[i] = shared.view.getInt32(address + 4 * i, true);
    return chunk;
  }

  beginMatrix(instr: Instr, registers: readonly Operand[]): void {
    const group = this.openProducts;
    group.instrs.push(instr);
    for (const reg of registers) {
      if (!isReg(reg)) continue;
      if (this.touched[reg.id] !== 0) {
        const detail = `${this.name} multiplies with registers that other instructions used, with no fence since`;
        this.findings.report('missing-product-fence', instr.where, detail);
        this.touched[reg.id] = 0;
      }
      if (!group.registers.has(reg.id)) this.held[reg.id]!++;
      group.registers.add(reg.id);
    }
  }

  fenceMatrix(): void {
    this.touched.fill(0);
  }

  commitMatrix(): void {
    this.matrixGroups.push(this.openProducts);
    this.openProducts = emptyGroup();
  }

  waitMatrix(pending: number): void {
    while (this.matrixGroups.length > pending) {
      const { registers, chunks } = this.matrixGroups.shift()!;
      for (const reg of registers) this.held[reg]!--;
      for (const at of chunks) endAsyncRead(this.home.shared, this, at, CHUNK);
    }
  }

  /** An instruction other than a product uses a register that one under way holds. */
  usesHeld(instr: Instr): void {
    const detail = `${instr.op.name} uses a register of a product that is under way`;
    this.findings.report('unwaited-product', instr.where, detail);
  }

  countTensor(operations: number): void {
    this.counters.tensorOperations += operations;
  }

  protected endMatrices(): void {
    const [first] = [...this.matrixGroups, this.openProducts].flatMap(({ instrs }) => instrs);
    if (first !== undefined)
      this.findings.report('unwaited-product', first.where, `${this.name} ends while a product is under way`);
  }
}
