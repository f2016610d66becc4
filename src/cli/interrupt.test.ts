import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { afterEach, describe, test } from 'node:test';
import { breathe, Interrupted, interruptible } from './interrupt.ts';

const streams = { stdin: Readable.from([]), stdout: new PassThrough(), stderr: new PassThrough() };
const listenersBefore = process.listeners('SIGINT');
afterEach(() => {
  for (const listener of process.listeners('SIGINT')) {
    if (!listenersBefore.includes(listener)) process.off('SIGINT', listener);
  }
});

/** What Node does when the signal comes, without those who listened before. */
function pressCtrlC(): void {
  for (const listener of process.listeners('SIGINT')) if (!listenersBefore.includes(listener)) listener('SIGINT');
}

describe('Ctrl-C', () => {
  test('aborts the work with a reason that carries the exit code', async () => {
    await assert.rejects(
      interruptible(streams, async (signal) => {
        pressCtrlC();
        await breathe(signal);
      }),
      (error) => error instanceof Interrupted && error.exitCode === 130,
    );
  });

  test('delivered twice at once, as under npm, is one; later a second ends the process at once', async (t) => {
    const exit = t.mock.method(process, 'exit', () => undefined);
    let now = 1000;
    t.mock.method(performance, 'now', () => now);
    await interruptible(streams, async () => {
      pressCtrlC();
      now += 100;
      pressCtrlC();
      assert.equal(exit.mock.callCount(), 0);
      now += 1000;
      pressCtrlC();
      assert.deepEqual(exit.mock.calls[0]!.arguments, [130]);
    });
  });

  test('is still taken care of between the end of the work and that of the process', async () => {
    const interrupted = interruptible(streams, async (signal) => {
      pressCtrlC();
      await breathe(signal);
    });
    await assert.rejects(interrupted, Interrupted);
    assert.ok(process.listenerCount('SIGINT') > listenersBefore.length);
  });
});

test('work that ends by itself gives its result and leaves no listener', async () => {
  assert.equal(await interruptible(streams, async () => 7), 7);
  assert.equal(process.listenerCount('SIGINT'), listenersBefore.length);
  assert.equal(streams.stdout.listenerCount('error') + streams.stderr.listenerCount('error'), 0);
});
