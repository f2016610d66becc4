import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { describe, test, type TestContext } from 'node:test';
import { createOutput, type Output, printJson, withProgress } from './output.ts';

function captured(json: boolean): {
  readonly output: Output;
  readonly written: () => [stdout: string, stderr: string];
} {
  const streams = { stdin: Readable.from([]), stdout: new PassThrough(), stderr: new PassThrough() };
  const read = (stream: PassThrough): string => String(stream.read() ?? '');
  return { output: createOutput(streams, json), written: () => [read(streams.stdout), read(streams.stderr)] };
}

describe('output', () => {
  test('for people: results on standard output, remarks on standard error', () => {
    const { output, written } = captured(false);
    output.text('result');
    output.note('remark');
    assert.deepEqual(written(), ['result', 'remark\n']);
  });

  test('with --json: the object and nothing else', () => {
    const { output, written } = captured(true);
    output.text('result');
    output.note('remark');
    printJson(output, { text: 'a\nb' });
    assert.deepEqual(written(), ['{"text":"a\\nb"}\n', '']);
  });
});

describe('progress', () => {
  /** Work of ten steps of `ms` each. */
  async function tenSteps(t: TestContext, ms: number, output: Output): Promise<string> {
    let now = 0;
    t.mock.method(performance, 'now', () => now);
    return await withProgress(output, 'Baking', 'loaves', async (report) => {
      for (let done = 1; done <= 10; done++) {
        now += ms;
        report(done, 10, `loaf ${done}`);
      }
      return 'bread';
    });
  }

  test('quick work shows none', async (t) => {
    const { output, written } = captured(false);
    assert.equal(await tenSteps(t, 50, output), 'bread');
    assert.deepEqual(written(), ['', '']);
  });

  test('long work does, in lines on a pipe', async (t) => {
    const { output, written } = captured(false);
    assert.equal(await tenSteps(t, 3000, output), 'bread');
    const [stdout, stderr] = written();
    assert.equal(stdout, '');
    assert.match(stderr, /^(Baking: \d+\/10 loaves, \d+ s left {2}loaf \d+\n)+Baking: 10\/10 loaves {2}loaf 10\n$/);
  });

  test('with --json there is none', async (t) => {
    const { output, written } = captured(true);
    await tenSteps(t, 3000, output);
    assert.deepEqual(written(), ['', '']);
  });

  test('an error passes through, and nothing is shown after it', async () => {
    const { output } = captured(false);
    await assert.rejects(
      withProgress(output, 'Baking', 'loaves', () => Promise.reject(new Error('burnt'))),
      /burnt/,
    );
  });
});
