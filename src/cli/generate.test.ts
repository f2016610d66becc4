import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { PassThrough, Readable, Writable } from 'node:stream';
import { describe, test } from 'node:test';
import { embeddedModel } from './flags.ts';
import { main } from './main.ts';
import { errorCodeOf, jsonOf, marlin, marlinHere } from './run-marlin.fixture.ts';

const PROMPT = 'Once upon a time';
const short = ['generate', PROMPT, '--max-tokens', '12', '--seed', '7'];

describe('the result', () => {
  test('--json: one object with what was made and how fast', async () => {
    const ran = await marlin([...short, '--json']);
    assert.deepEqual([ran.code, ran.stderr], [0, '']);
    const { text, tokensPerSecond, prefillTokensPerSecond, ...rest } = jsonOf(ran);
    assert.ok(typeof text === 'string' && text !== '' && !text.startsWith(PROMPT));
    assert.ok(Number(tokensPerSecond) > 0 && Number(prefillTokensPerSecond) > 0);
    assert.deepEqual(rest, {
      tokens: 12,
      promptTokens: 5, // with BOS
      device: 'cpu',
      model: embeddedModel,
      finishReason: 'length',
      seed: 7,
    });
  });

  test('without it the text, prompt first, and nothing else on standard output', async () => {
    const { text } = jsonOf(await marlinHere([...short, '--json']));
    const { code, stdout, stderr } = await marlin(short);
    assert.deepEqual([code, stdout], [0, `${PROMPT}${String(text)}\n`]);
    assert.match(stderr, /^5 tokens read at .*, 12 made at .* on cpu; --max-tokens reached; seed 7\n$/);
  });

  test('the text appears while it is made', async () => {
    const pieces: string[] = [];
    const ran = await marlin(short, { onOutput: (_times, stdout) => void pieces.push(stdout) });
    assert.ok(pieces[0]!.length < ran.stdout.length);
  });

  test('the same seed gives the same text, another seed another', async () => {
    const textOf = async (seed: string): Promise<unknown> =>
      jsonOf(await marlinHere(['generate', PROMPT, '-n', '12', '-s', seed, '--json']))['text'];
    const text = await textOf('7');
    assert.equal(await textOf('7'), text);
    assert.notEqual(await textOf('8'), text);
  });

  test('without a seed a new one is taken and told', async () => {
    const line = ['generate', PROMPT, '-n', '1', '--json'];
    const [first, second] = [jsonOf(await marlinHere(line)), jsonOf(await marlinHere(line))];
    assert.ok(Number.isSafeInteger(first['seed']));
    assert.notEqual(first['seed'], second['seed']);
  });

  test('temperature 0 needs no seed', async () => {
    const line = ['generate', PROMPT, '-n', '12', '-t', '0', '--json'];
    assert.equal(jsonOf(await marlinHere(line))['text'], jsonOf(await marlinHere(line))['text']);
  });

  test('threads change no text', async () => {
    const textOf = async (threads: string): Promise<unknown> =>
      jsonOf(await marlinHere([...short, '--json', '--threads', threads]))['text'];
    assert.equal(await textOf('1'), await textOf('2'));
  });
});

describe('the prompt', () => {
  test('may be empty: the token that begins a text is enough', async () => {
    const { text, promptTokens, tokens } = jsonOf(await marlinHere(['generate', '', '-n', '3', '-s', '1', '--json']));
    assert.deepEqual([promptTokens, tokens], [1, 3]);
    assert.notEqual(text, '');
  });

  test('- reads it from standard input, less the line end that echo adds', async () => {
    const expected = jsonOf(await marlinHere([...short, '--json']));
    const line = ['generate', '-', '-n', '12', '-s', '7', '--json'];
    for (const end of ['', '\n', '\r\n']) {
      assert.equal(jsonOf(await marlinHere(line, PROMPT + end))['text'], expected['text']);
    }
    assert.equal(jsonOf(await marlinHere(line, `${PROMPT}\n\n`))['promptTokens'], 6);
  });

  test('longer than the context is refused before anything is printed', async () => {
    const long = 'word '.repeat(1100);
    const ran = await marlinHere(['generate', long]);
    assert.deepEqual([ran.code, ran.stdout], [2, '']);
    assert.match(
      ran.stderr,
      /The prompt has \d+ tokens; the context holds 1024\. \[prompt-too-long\]\n {2}fix Shorten/,
    );
    assert.equal(errorCodeOf(await marlinHere(['generate', long, '--json'])), 'prompt-too-long');
  });

  test('longer than --context: the fix names a context that is large enough', async () => {
    const line = ['generate', 'Once upon a time there was', '-n', '9', '--context'];
    const { stderr } = await marlinHere([...line, '3']);
    const [, needed = ''] = /Use --context (\d+) or more \(up to 1024\)/.exec(stderr) ?? [];
    assert.equal((await marlinHere([...line, needed])).code, 0);
  });
});

describe('the context', () => {
  test('ends the text when it is full', async () => {
    const result = jsonOf(await marlinHere([...short, '--context', '8', '--json']));
    assert.deepEqual([result['finishReason'], result['tokens']], ['context', 4]); // the last is made, not read
    assert.match((await marlinHere([...short, '--context', '8'])).stderr, /the context is full/);
  });

  test('cannot be larger than what the model was trained for', async () => {
    const ran = await marlinHere([...short, '--context', '1025', '--json']);
    assert.deepEqual([ran.code, errorCodeOf(ran)], [2, 'context-too-long']);
  });
});

test('--device cuda is refused where there is none', { skip: existsSync('/dev/nvidiactl') }, async () => {
  const ran = await marlinHere([...short, '--device', 'cuda']);
  assert.deepEqual([ran.code, ran.stdout], [2, '']);
  assert.match(ran.stderr, /\[driver-missing\]\n {2}fix .*--device cpu/);
  assert.equal(errorCodeOf(await marlinHere([...short, '--device', 'cuda', '--json'])), 'driver-missing');
});

describe('a command that is not let finish', () => {
  const endless = ['generate', PROMPT, '--max-tokens', '900', '--seed', '1'];

  test('Ctrl-C stops the text and exits with 130', async () => {
    const ran = await marlin(endless, {
      onOutput: (times, _stdout, child) => void (times === 1 && child.kill('SIGINT')),
    });
    assert.deepEqual([ran.code, ran.stderr], [130, 'Stopped.\n']);
    assert.ok(ran.stdout.startsWith(PROMPT) && ran.stdout.endsWith('\n'));
  });

  test('SIGTERM exits with 143', async () => {
    const { code } = await marlin(endless, {
      onOutput: (times, _stdout, child) => void (times === 1 && child.kill('SIGTERM')),
    });
    assert.equal(code, 143);
  });

  test('Ctrl-C is heard while the prompt is awaited from standard input', async () => {
    const stdin = new PassThrough();
    const streams = { stdin, stdout: new PassThrough(), stderr: new PassThrough() };
    const running = main(['generate', '-'], streams);
    const [listener] = process.listeners('SIGINT').slice(-1);
    listener?.('SIGINT'); // as Node does when the signal comes
    assert.equal(await running, 130);
    assert.equal(String(streams.stderr.read()), 'Stopped.\n');
  });

  test('a reader that goes away, as head does, is no mistake', async () => {
    const ran = await marlin(endless, { onOutput: (_times, _stdout, child) => child.closeOutput() });
    assert.deepEqual([ran.code, ran.stderr], [0, '']);
  });

  test('a full disk is', async () => {
    for (const json of [[], ['--json']]) {
      const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      const stdout = new Writable({ write: (_chunk, _encoding, done) => done(full) });
      const stderr = new PassThrough();
      assert.equal(await main([...short, ...json], { stdin: Readable.from(['']), stdout, stderr }), 2);
      assert.match(
        String(stderr.read()),
        /^error Standard output .* no space left on device\. \[output-unwritable\]\n/,
      );
    }
  });
});
