import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { describe, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { duration, type Progress, startProgress } from './progress.ts';

const ESCAPE = '\u001B';

/** A stream that remembers what was written to it. */
class Recorder extends Writable {
  readonly isTTY: boolean;
  readonly columns = 60;
  text = '';

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

/** A display on a pipe, with a clock that the test moves. */
function onPipe(total: number): { stream: Recorder; clock: { ms: number }; progress: Progress } {
  const stream = new Recorder(false);
  const clock = { ms: 0 };
  const progress = startProgress({ title: 'Quantizing', total, unit: 'layers', stream, now: () => clock.ms });
  return { stream, clock, progress };
}

describe('on a pipe', () => {
  test('a line each five seconds and one at the end', () => {
    const { stream, clock, progress } = onPipe(10);
    for (let done = 0; done <= 10; done++) {
      progress.update(done, `layer ${done}`);
      clock.ms += 2000;
    }
    progress.stop();
    assert.deepEqual(stream.text.split('\n'), [
      'Quantizing: 3/10 layers, 14 s left  layer 3',
      'Quantizing: 6/10 layers, 8 s left  layer 6',
      'Quantizing: 9/10 layers, 2 s left  layer 9',
      'Quantizing: 10/10 layers  layer 10',
      '',
    ]);
  });

  test('no estimate before anything is done, no label when there is none', () => {
    const { stream, clock, progress } = onPipe(2);
    clock.ms = 6000;
    progress.update(0);
    assert.equal(stream.text, 'Quantizing: 0/2 layers\n');
  });

  test('the end is said once, and nothing after stop', () => {
    const { stream, clock, progress } = onPipe(2);
    progress.update(2);
    progress.update(2);
    assert.equal(stream.text, 'Quantizing: 2/2 layers\n');
    const second = onPipe(2);
    second.progress.stop();
    second.progress.stop();
    clock.ms = second.clock.ms = 60_000;
    second.progress.update(1);
    assert.equal(second.stream.text, '');
  });
});

describe('on a terminal', () => {
  test('draws title, bar, percentage, count and label in one line that fits', () => {
    const stream = new Recorder(true);
    const progress = startProgress({ title: 'Eval', total: 4, unit: 'windows', stream });
    try {
      progress.update(1, 'first');
    } finally {
      progress.stop();
    }
    assert.match(stream.text, /Eval █{7}░{21} 25%  1\/4 windows/);
    assert.equal(stream.text.includes('\n'), false);
    for (const line of stream.text.split(`${ESCAPE}[1G`))
      assert.ok(stripVTControlCharacters(line).length <= stream.columns);
  });

  test('wipes its line at the end and leaves no mode of the terminal switched', () => {
    const stream = new Recorder(true);
    const progress = startProgress({ title: 'Eval', total: 4, unit: 'windows', stream });
    progress.stop();
    assert.ok(!stream.text.includes(`${ESCAPE}[?`), 'a cursor or wrapping mode that Ctrl+C would leave behind');
    assert.ok(stream.text.endsWith(`${ESCAPE}[2K`));
    const { length } = stream.text;
    progress.stop();
    progress.update(2);
    assert.equal(stream.text.length, length);
  });

  test('nothing to do is already done', () => {
    const stream = new Recorder(true);
    startProgress({ title: 'Eval', total: 0, unit: 'windows', stream }).stop();
    assert.match(stream.text, /100%  0\/0 windows/);
  });
});

test('silent writes nothing', () => {
  for (const isTTY of [true, false]) {
    const stream = new Recorder(isTTY);
    const progress = startProgress({ title: 'Eval', total: 1, unit: 'windows', stream, silent: true });
    progress.update(1);
    progress.stop();
    assert.equal(stream.text, '');
  }
});

test('duration, in words', () => {
  const words: readonly (readonly [number, string])[] = [
    [-1, '0 s'],
    [0.4, '0 s'],
    [59.4, '59 s'],
    [59.5, '1 min 0 s'],
    [125, '2 min 5 s'],
    [3599.6, '1 h 0 min'],
    [3780, '1 h 3 min'],
    [NaN, '?'],
    [Infinity, '?'],
  ];
  for (const [seconds, text] of words) assert.equal(duration(seconds), text);
});
