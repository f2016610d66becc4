// PTX as far as the fake driver reads it: names, sizes and the mistakes that are easy to see. Runs nothing.

/** A kernel by its .entry. Sizes are bytes. */
export interface Entry {
  readonly name: string;
  readonly parameterBytes: readonly number[];
  readonly sharedBytes: number;
  readonly threadsPerBlock: number;
}

const MOST_THREADS = 1024;

/** Bits, and the length of an array: of '.param .align 64 .b8 map[128]' or '.param .u64 .ptr .global .align 16 p'. */
const PARAMETER =
  /\.param\s+(?:\.align\s+\d+\s+)?\.[a-z]+(\d+)\s+(?:\.(?:ptr|global|shared|const|local)\s+|\.align\s+\d+\s+)*[\w$]+(?:\[(\d+)\])?/g;

/** Every kernel of a PTX text, by its name. */
export function entriesOf(ptx: string): ReadonlyMap<string, Entry> {
  const starts = [...ptx.matchAll(/\.entry\s+([\w$]+)\s*\(([^)]*)\)/g)];
  return new Map(
    starts.map((match, i) => {
      const [, name = '', parameters = ''] = match;
      const body = ptx.slice(match.index, starts[i + 1]?.index);
      const entry: Entry = {
        name,
        parameterBytes: [...parameters.matchAll(PARAMETER)].map(bytesOf),
        sharedBytes: [...body.matchAll(/\.shared\b[^;]*?\.[a-z]+(\d+)\s+[\w$]+(?:\[(\d+)\])?\s*;/g)]
          .map(bytesOf)
          .reduce((sum, bytes) => sum + bytes, 0),
        threadsPerBlock: Number(/\.maxntid\s+(\d+)/.exec(body)?.[1] ?? MOST_THREADS),
      };
      return [name, entry];
    }),
  );
}

function bytesOf([, bits, count]: RegExpMatchArray): number {
  return (Number(bits) / 8) * Number(count ?? 1);
}

/** What is wrong with a PTX text, in the words of ptxas; null if nothing is. An instruction named "bogus" stands for any syntax error. */
export function complaint(ptx: string, newest: number): { readonly tooNew: boolean; readonly log: string } | null {
  const lines = ptx.split('\n');
  const say = (line: number, what: string): string => `ptxas application ptx input, line ${line + 1}; ${what}`;
  const versionLine = lines.findIndex((line) => /^\s*\.version\b/.test(line));
  const version = /\.version\s+([\d.]+)/.exec(lines[versionLine] ?? '')?.[1];
  if (version === undefined) {
    return { tooNew: false, log: say(0, 'fatal   : Missing .version directive at start of file') };
  }
  if (Number(version) > newest) {
    const log = say(
      versionLine,
      `fatal   : Unsupported .version ${version}; current version is '${newest.toFixed(1)}'`,
    );
    return { tooNew: true, log };
  }
  const bogus = lines.findIndex((line) => /^\s*bogus\b/.test(line));
  if (bogus < 0) return null;
  return { tooNew: false, log: say(bogus, "error   : Not a name of any known instruction: 'bogus'") };
}
