// Program to PTX text. Decides nothing: spellings are the instructions' own, control flow becomes labels and branches.
import { pointee } from './kernel.ts';
import { INLINED_AT_VERSION, lineTable } from './lines.ts';
import type { Kind } from './op.ts';
import {
  type Block,
  instructions,
  isReg,
  type Operand,
  type Program,
  type Reg,
  type Target,
  type Where,
} from './program.ts';
import { verify } from './verify.ts';

export interface PrintOptions {
  /** The architecture to print for; default the program's own least one. */
  readonly arch?: Target;
  /** Adds .loc lines, so that profilers show the author's TypeScript, with helpers as functions inlined into the kernel. */
  readonly lines?: boolean;
}

/** The first PTX ISA version that knows an architecture (PTX ISA, release notes). */
const archVersion: Readonly<Record<Target, number>> = {
  sm_80: 7.0,
  sm_86: 7.1,
  sm_89: 7.8,
  sm_90: 7.8,
  sm_90a: 8.0,
  sm_120: 8.7,
};
const prefix = { pred: 'p', b16: 'h', b32: 'r', b64: 'd', f32: 'f' } as const;

/** The lowest version that has the architecture and every instruction: older drivers take older versions. */
export function versionOf(program: Program, arch: Target = program.target): number {
  let version = archVersion[arch];
  for (const { op } of instructions(program.body)) version = Math.max(version, op.version);
  return version;
}

/** Errors: KernelError when the program is not well formed, or `arch` cannot run it (verify.ts). */
export function print(program: Program, options: PrintOptions = {}): string {
  const { arch = program.target, lines = false } = options;
  verify(program, arch);
  const out: string[] = [];
  const table = lineTable();
  let labels = 0;
  const name = (reg: Reg): string => `%${prefix[reg.cls]}${reg.id}`;
  const operand = (value: Operand, kind: Kind): string => (isReg(value) ? name(value) : immediate(value.bits, kind));
  const label = (): string => `$L${labels++}`;

  const locate = (where: Where): void => {
    if (lines) out.push(...table.locate(where));
  };

  const block = (stmts: Block): void => {
    for (const stmt of stmts) {
      locate(stmt.where);
      switch (stmt.kind) {
        case 'instr': {
          const dst = stmt.dst.map(name);
          const src = stmt.src.map((value, i) => operand(value, stmt.op.src[i]!));
          out.push(
            `\t${stmt.op.format === undefined ? `${stmt.op.name} ${[...dst, ...src].join(', ')};` : stmt.op.format(dst, src)}`,
          );
          break;
        }
        case 'if': {
          const [otherwise, end] = [label(), label()];
          out.push(`\t@!${name(stmt.condition)} bra ${otherwise};`);
          block(stmt.body);
          if (stmt.otherwise !== null) out.push(`\tbra ${end};`);
          out.push(`${otherwise}:`);
          if (stmt.otherwise !== null) {
            block(stmt.otherwise);
            out.push(`${end}:`);
          }
          break;
        }
        case 'loop': {
          const [top, end] = [label(), label()];
          const test = `%loop${top.slice(2)}`;
          const to = operand(stmt.to, 'u32');
          out.push(`\tmov.u32 ${name(stmt.index)}, ${operand(stmt.from, 'u32')};`, `\t.reg .pred ${test};`);
          out.push(`\tsetp.ge.u32 ${test}, ${name(stmt.index)}, ${to};`, `\t@${test} bra ${end};`, `${top}:`);
          block(stmt.body);
          locate(stmt.where);
          out.push(`\tadd.u32 ${name(stmt.index)}, ${name(stmt.index)}, ${stmt.step};`);
          out.push(`\tsetp.lt.u32 ${test}, ${name(stmt.index)}, ${to};`, `\t@${test} bra ${top};`, `${end}:`);
          break;
        }
        case 'while': {
          const [top, end] = [label(), label()];
          out.push(`${top}:`);
          block(stmt.test);
          out.push(`\t@!${name(stmt.condition)} bra ${end};`);
          block(stmt.body);
          locate(stmt.where);
          out.push(`\tbra ${top};`, `${end}:`);
          break;
        }
      }
    }
  };
  block(program.body);

  const params = Object.entries(program.params).map(([key, type]) =>
    typeof type === 'object'
      ? `\t.param .align 64 .b8 ${key}[128]`
      : `\t.param .${pointee(type) === null ? type : 'u64'} ${key}`,
  );
  return [
    `.version ${Math.max(versionOf(program, arch), table.inlined() ? INLINED_AT_VERSION : 0).toFixed(1)}`,
    `.target ${arch}`,
    '.address_size 64',
    '',
    ...(program.sharedBytes > 0 ? ['.extern .shared .align 1024 .b8 smem[];', ''] : []),
    `.visible .entry ${program.name}(`,
    params.join(',\n'),
    `) .maxntid ${program.threads} .minnctapersm 1${program.cluster > 1 ? ` .explicitcluster .reqnctapercluster ${program.cluster}` : ''}`,
    '{',
    ...program.regs.map((reg) => `\t.reg .${reg.cls} ${name(reg)};`),
    '',
    ...out,
    '\tret;',
    '}',
    ...table.tables(),
    '',
  ].join('\n');
}

function immediate(bits: number | bigint, kind: Kind): string {
  if (kind === 'f32') return `0f${Number(bits).toString(16).padStart(8, '0')}`;
  if (kind === 's32') return String(Number(bits) | 0);
  return kind === 'u32' ? String(bits) : `0x${bits.toString(16)}`;
}
