// Progress of long work on standard error: a moving bar on a terminal, a line now and then on a pipe, nothing when silent.
import cliProgress from 'cli-progress';

export interface Progress {
  /** Units done so far, and what is being worked on. */
  update(done: number, label?: string): void;
  /** Ends the display; nothing is written afterwards. Safe to call twice; call it in a `finally`: a moving bar keeps the process alive. */
  stop(): void;
}

export interface ProgressOptions {
  readonly title: string;
  readonly total: number;
  /** What one unit is, in words: 'layers', 'windows'. */
  readonly unit: string;
  /** No output at all, for `--json`. */
  readonly silent?: boolean;
  /** Where to write; standard error unless a test says otherwise. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** The clock in milliseconds, for tests. */
  readonly now?: () => number;
}

/** A log that fills with a line each second is unreadable; one each five seconds still shows life. */
const PIPE_LINE_MS = 5000;

export function startProgress(options: ProgressOptions): Progress {
  if (options.silent === true) return { update() {}, stop() {} };
  const stream = options.stream ?? process.stderr;
  return stream.isTTY === true ? terminalBar(options, stream) : pipeLines(options, stream);
}

function terminalBar(options: ProgressOptions, stream: NodeJS.WritableStream): Progress {
  const bar = new cliProgress.SingleBar({
    stream,
    format: (settings, state, payload: { label?: string }) => {
      const percent = Math.floor(state.progress * 100);
      const eta = state.value === 0 ? '' : `  ${duration(state.eta)} left`;
      return `${options.title} ${cliProgress.Format.BarFormat(state.progress, settings)} ${percent}%  ${state.value}/${state.total} ${options.unit}${eta}  ${payload.label ?? ''}`;
    },
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 28,
    // The library would switch the cursor and line wrapping off, and Ctrl+C would leave the terminal that way.
    hideCursor: false,
    linewrap: true,
    clearOnComplete: true,
    etaBuffer: 20,
  });
  bar.start(options.total, 0, {});
  return {
    update: (done, label) => bar.update(done, label === undefined ? {} : { label }),
    stop: () => bar.stop(),
  };
}

function pipeLines(options: ProgressOptions, stream: NodeJS.WritableStream): Progress {
  const now = options.now ?? (() => performance.now());
  const started = now();
  let printed = started;
  let ended = false;
  return {
    update(done, label) {
      if (ended || (done < options.total && now() - printed < PIPE_LINE_MS)) return;
      ended = done >= options.total;
      printed = now();
      const left = done === 0 ? '' : `, ${duration(((printed - started) / 1000) * (options.total / done - 1))} left`;
      const suffix = label === undefined ? '' : `  ${label}`;
      stream.write(
        `${options.title}: ${done}/${options.total} ${options.unit}${done < options.total ? left : ''}${suffix}\n`,
      );
    },
    stop() {
      ended = true;
    },
  };
}

/** Seconds in words a person reads at a glance: '8 s', '2 min 5 s', '1 h 3 min'. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (!Number.isFinite(whole)) return '?';
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
