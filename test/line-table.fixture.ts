// Reads the line table of a cubin: ELF sections, DWARF 2 line programs, and NVIDIA's extended opcode for inlined calls.
import { readFileSync } from 'node:fs';

export interface Row {
  readonly address: number;
  readonly file: string;
  readonly line: number;
  /** The row of the call that this one is inlined at, and the function's name; null in the kernel itself. */
  readonly inlined: { readonly at: Row; readonly name: string } | null;
}

/** A section of an ELF64 file by its name; empty when there is none. */
function section(elf: Buffer, wanted: string): Buffer {
  const [table, size, count, names] = [
    Number(elf.readBigUInt64LE(0x28)),
    elf.readUInt16LE(0x3a),
    elf.readUInt16LE(0x3c),
    elf.readUInt16LE(0x3e),
  ];
  const content = (index: number): Buffer => {
    const at = table + index * size;
    const start = Number(elf.readBigUInt64LE(at + 0x18));
    return elf.subarray(start, start + Number(elf.readBigUInt64LE(at + 0x20)));
  };
  const strings = content(names);
  for (let i = 0; i < count; i++) if (textAt(strings, elf.readUInt32LE(table + i * size)) === wanted) return content(i);
  return Buffer.alloc(0);
}

const textAt = (bytes: Buffer, at: number): string => bytes.toString('utf8', at, bytes.indexOf(0, at));

class Reader {
  at = 0;
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  byte(): number {
    return this.bytes.readUInt8(this.at++);
  }
  signedByte(): number {
    return this.bytes.readInt8(this.at++);
  }
  word(): number {
    this.at += 4;
    return this.bytes.readUInt32LE(this.at - 4);
  }
  text(): string {
    const found = textAt(this.bytes, this.at);
    this.at = this.bytes.indexOf(0, this.at) + 1;
    return found;
  }
  unsigned(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }
  signed(): number {
    const start = this.at;
    const value = this.unsigned();
    const negative = (this.bytes[this.at - 1]! & 64) !== 0;
    return negative ? value - 2 ** (7 * (this.at - start)) : value;
  }
}

/** The rows of the first sequence of the cubin's line table. */
export function lineRows(cubin: string): Row[] {
  const elf = readFileSync(cubin);
  const names = section(elf, '.debug_str');
  const reader = new Reader(section(elf, '.debug_line'));
  reader.at = 4 + 2; // length, version
  const programStart = reader.word() + reader.at;
  reader.at += 2; // minimum instruction length, default is_stmt
  const [base, range, opcodes] = [reader.signedByte(), reader.byte(), reader.byte()];
  const operands = Array.from({ length: opcodes - 1 }, () => reader.byte());
  const folders = [''];
  while (reader.bytes[reader.at] !== 0) folders.push(reader.text());
  reader.at++;
  const files = [''];
  while (reader.bytes[reader.at] !== 0) {
    const name = reader.text();
    files.push(`${folders[reader.unsigned()]!}/${name}`);
    reader.unsigned();
    reader.unsigned();
  }
  reader.at = programStart;
  const rows: Row[] = [];
  let [address, file, line] = [0, 1, 1];
  let inlined: Row['inlined'] = null;
  const push = (): void => void rows.push({ address, file: files[file]!, line, inlined });
  for (;;) {
    const opcode = reader.byte();
    if (opcode >= opcodes) {
      address += Math.floor((opcode - opcodes) / range);
      line += base + ((opcode - opcodes) % range);
      push();
    } else if (opcode === 0) {
      const end = reader.unsigned() + reader.at;
      const extended = reader.byte();
      if (extended === 1) return rows;
      if (extended === 0x90) {
        const [context, name] = [reader.unsigned(), reader.unsigned()];
        inlined = context === 0 ? null : { at: rows[context - 1]!, name: textAt(names, name) };
      }
      reader.at = end;
    } else if (opcode === 1) push();
    else if (opcode === 2) address += reader.unsigned();
    else if (opcode === 3) line += reader.signed();
    else if (opcode === 4) file = reader.unsigned();
    else if (opcode === 8) address += Math.floor((255 - opcodes) / range);
    else if (opcode === 9) {
      address += reader.bytes.readUInt16LE(reader.at);
      reader.at += 2;
    } else for (let i = 0; i < operands[opcode - 1]!; i++) reader.unsigned();
  }
}
