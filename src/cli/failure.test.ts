import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { test } from 'node:test';
import { errors } from '../base/errors.ts';
import { reportFailure } from './failure.ts';
import { Interrupted, OutputClosed } from './interrupt.ts';
import { createOutput } from './output.ts';

/** Exit code, standard output, standard error. */
function reported(error: unknown, json: boolean): [code: number, stdout: string, stderr: string] {
  const streams = { stdin: Readable.from([]), stdout: new PassThrough(), stderr: new PassThrough() };
  const code = reportFailure(error, createOutput(streams, json));
  return [code, String(streams.stdout.read() ?? ''), String(streams.stderr.read() ?? '')];
}

test('what the user can mend: message, code and fix', () => {
  const error = errors.fileNotFound('a.txt');
  assert.deepEqual(reported(error, false), [
    2,
    '',
    `error There is no file or folder a.txt. [file-not-found]\n  fix ${error.fix}\n`,
  ]);
  const { code, message, fix } = error;
  assert.deepEqual(reported(error, true), [2, `${JSON.stringify({ error: { code, message, fix } })}\n`, '']);
});

test('a bug: exit code 1, and the stack on standard error for the report', () => {
  for (const error of [new RangeError('out of range'), errors.internal('out of range')]) {
    const [code, stdout, stderr] = reported(error, false);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /out of range.*\[internal\]\n {2}fix .*report it.*\n[^]*failure\.test\.ts/);
    const json = reported(error, true);
    assert.equal(json[0], 1);
    assert.match(json[1], /^\{"error":\{"code":"internal".*\}\}\n$/);
    assert.match(json[2], /failure\.test\.ts/);
  }
  assert.match(reported('thrown by someone careless', false)[2], /careless.*\[internal\]/);
});

test('Ctrl-C: 130 and one word', () => {
  assert.deepEqual(reported(new Interrupted('SIGINT'), false), [130, '', 'Stopped.\n']);
  assert.deepEqual(reported(new Interrupted('SIGINT'), true), [
    130,
    '{"error":{"code":"interrupted","message":"Stopped.","fix":"Run the command again."}}\n',
    '',
  ]);
});

test('a reader that went away: nothing to say', () => {
  for (const json of [false, true]) assert.deepEqual(reported(new OutputClosed(), json), [0, '', '']);
});
