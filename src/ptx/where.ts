// The author's line: which file and line asked for an instruction, and which helpers stood in between.
import type { Frame, Where } from './program.ts';

/** Frames of this folder are the language's own and are left out. */
const ours: string = new URL('.', import.meta.url).href;
/** What called kernel() is not part of a kernel. */
const kernelFile = /^kernel\.[jt]s$/;
/** A kernel's helpers are a handful deep; more frames are test runners and command lines. */
const MAX_FRAMES = 8;
/** k.if, k.loop and array methods put frames of their own between those of the author. */
const MAX_STACK = 40;

/** The author's frames, innermost first. A function without a name, such as the body of a k.if, is part of the function around it. */
function authorFrames(sites: readonly NodeJS.CallSite[]): Frame[] {
  const found: Frame[] = [];
  let between = false;
  /** kernel() itself emits the parameters: they belong to its call, and to nothing above that. */
  let ofHead = false;
  for (const site of sites) {
    const file = site.getFileName() ?? '';
    if (file.startsWith('node:')) {
      if (found.length > 0) break;
      continue;
    }
    // No file: an array method that calls the author's function back.
    if (file === '' || (file.startsWith(ours) && !/\.(test|fixture)\./.test(file))) {
      const isKernel = kernelFile.test(file.slice(ours.length));
      if (found.length > 0 && isKernel) break;
      ofHead ||= isKernel;
      between = true;
      continue;
    }
    const frame: Frame = {
      file: file.replace(/^file:\/\//, ''),
      line: site.getLineNumber() ?? 0,
      column: site.getColumnNumber() ?? 0,
      name: site.getFunctionName() ?? '',
    };
    const last = found.at(-1);
    if (between && last?.name === '' && last.file === frame.file)
      found[found.length - 1] = { ...last, name: frame.name };
    else if (found.length === MAX_FRAMES) break;
    else found.push(frame);
    if (ofHead) break;
    between = false;
  }
  return found;
}

/** Where nobody knows. */
export const UNKNOWN: Where = { file: 'unknown', line: 0, column: 0, name: '', callers: [] };

/** The innermost line outside this folder, with its callers up to the kernel's body. Costs 7-9 us. */
export function here(): Where {
  const { stackTraceLimit } = Error;
  const prepareStackTrace: unknown = Reflect.get(Error, 'prepareStackTrace');
  let sites: readonly NodeJS.CallSite[] = [];
  Error.stackTraceLimit = MAX_STACK;
  Error.prepareStackTrace = (_error, found) => {
    sites = found;
    return '';
  };
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, here);
  void holder.stack; // reading it is what calls prepareStackTrace
  Reflect.set(Error, 'prepareStackTrace', prepareStackTrace);
  Error.stackTraceLimit = stackTraceLimit;
  const [first, ...callers] = authorFrames(sites);
  return first === undefined ? UNKNOWN : { ...first, callers };
}
