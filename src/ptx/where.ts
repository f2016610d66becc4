// The author's line: which file and line asked for an instruction, and which helpers stood in between.
import type { Where } from './program.ts';

/** Frames of this folder are the language's own and are left out. */
const ours: string = new URL('.', import.meta.url).href;
/** A kernel's helpers are a handful deep; more frames are test runners and command lines. */
const MAX_FRAMES = 8;

interface Site {
  readonly file: string;
  readonly line: number;
}

function authorSites(sites: readonly NodeJS.CallSite[]): Site[] {
  const found: Site[] = [];
  for (const site of sites) {
    const file = site.getFileName() ?? '';
    if (file.startsWith(ours) && !/\.(test|fixture)\./.test(file)) {
      // Back in the language after author frames: this is kernel() calling the body; what called kernel() is not part of it.
      if (found.length > 0) break;
      continue;
    }
    if (file === '' || file.startsWith('node:')) {
      if (found.length > 0) break;
      continue;
    }
    found.push({ file: file.replace(/^file:\/\//, ''), line: site.getLineNumber() ?? 0 });
  }
  return found;
}

const UNKNOWN: Where = { file: 'unknown', line: 0, callers: [] };

/** The innermost line outside this folder, with its callers up to the kernel's body. Costs 7-9 us. */
export function here(): Where {
  const { stackTraceLimit } = Error;
  const prepareStackTrace: unknown = Reflect.get(Error, 'prepareStackTrace');
  let sites: readonly NodeJS.CallSite[] = [];
  Error.stackTraceLimit = MAX_FRAMES + 16;
  Error.prepareStackTrace = (_error, found) => {
    sites = found;
    return '';
  };
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, here);
  void holder.stack; // reading it is what calls prepareStackTrace
  Reflect.set(Error, 'prepareStackTrace', prepareStackTrace);
  Error.stackTraceLimit = stackTraceLimit;
  const [first, ...callers] = authorSites(sites).slice(0, MAX_FRAMES);
  return first === undefined ? UNKNOWN : { ...first, callers };
}
