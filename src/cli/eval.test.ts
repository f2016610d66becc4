import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { embeddedModel } from './flags.ts';
import { openFolder, openWeights } from './open.ts';
import { createOutput } from './output.ts';
import { errorCodeOf, jsonOf, marlin, marlinHere, temporaryFolder } from './run-marlin.fixture.ts';

const root = temporaryFolder();
let files = 0;
function fileOf(content: string | Uint8Array): string {
  const path = join(root, `text-${files++}.txt`);
  writeFileSync(path, content);
  return path;
}

const story = 'Once upon a time there was a fox who lived in the woods. Every morning it went to the river. ';
const book = fileOf(story.repeat(100));

async function refused(code: string, ...line: readonly string[]): Promise<string> {
  const ran = await marlinHere(['eval', ...line]);
  assert.deepEqual([ran.code, ran.stdout], [2, '']);
  assert.ok(ran.stderr.includes(`[${code}]`), ran.stderr);
  const json = await marlinHere(['eval', ...line, '--json']);
  assert.deepEqual([json.code, errorCodeOf(json), json.stderr], [2, code, '']);
  return ran.stderr;
}

describe('the result', () => {
  test('--json: one object, the same every time', async () => {
    const line = ['eval', '--text', book, '--windows', '1', '--json'];
    const ran = await marlin(line);
    assert.deepEqual([ran.code, ran.stderr], [0, '']);
    const { perplexity, bitsPerByte, seconds, ...rest } = jsonOf(ran);
    assert.ok(Number(perplexity) > 1 && Number(perplexity) < 50, String(perplexity));
    assert.ok(Number(bitsPerByte) > 0 && Number(seconds) > 0);
    assert.deepEqual(rest, { tokens: 1023, windows: 1, context: 1024, device: 'cpu', model: embeddedModel });
    assert.equal(jsonOf(await marlinHere(line))['perplexity'], perplexity);
  });

  test('is what the logits of the model say, window by window', async () => {
    const context = 32;
    // 8 bits round a token's activations differently in a step of one and of many.
    const exact = ['--activation-bits', '16'];
    const folder = openFolder(embeddedModel);
    const output = createOutput(process, true);
    using model = await openWeights(
      folder,
      { model: embeddedModel, device: 'cpu', activationBits: 16 },
      context,
      output,
    );
    const text = story.repeat(4);
    // BOS, the text, EOS; the end that fills no window is dropped.
    const ids = [0, ...folder.tokenizer.encode(text, { addSpecialTokens: false }), 1];
    const starts = Array.from({ length: Math.floor(ids.length / context) }, (_, i) => i * context);
    using sequence = model.newSequence();
    let nats = 0;
    for (const start of starts) {
      sequence.truncate(0);
      for (let i = start; i < start + context - 1; i++) {
        const logits = Array.from(sequence.append([ids[i]!]));
        nats += Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0)) - logits[ids[i + 1]!]!;
      }
    }
    const tokens = starts.length * (context - 1);
    const predicted = starts.map((start) =>
      folder.tokenizer.decode(ids.slice(start + 1, start + context), { skipSpecialTokens: true }),
    );
    const result = jsonOf(await marlinHere(['eval', '--text', fileOf(text), '--context', '32', ...exact, '--json']));
    assert.deepEqual([result['windows'], result['tokens']], [starts.length, tokens]);
    const near = (found: unknown, expected: number): void =>
      assert.ok(Math.abs(Number(found) / expected - 1) < 1e-3, `${String(found)} and ${expected}`);
    near(result['perplexity'], Math.exp(nats / tokens));
    near(result['bitsPerByte'], nats / Math.LN2 / Buffer.byteLength(predicted.join('')));
  });

  test('a zero byte ends a document, which begins and ends with a token of its own', async () => {
    const tokensOf = async (text: string): Promise<number> => {
      const stderr = await refused('eval-text-short', '--text', fileOf(text));
      return Number(/has (\d+) tokens/.exec(stderr)?.[1]);
    };
    const [fox, hen] = [await tokensOf('The fox.'), await tokensOf('The hen.')];
    assert.ok(fox > 2 && hen > 2);
    assert.equal(await tokensOf('The fox.\0The hen.\0\0'), fox + hen);
  });

  test('for people: two lines, and progress on standard error that a log can take', async () => {
    const { code, stdout, stderr } = await marlin(['eval', '--text', book, '--threads', '1']);
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^perplexity \d+\.\d{4} {3}\d\.\d{4} bits a byte\n\d+ predictions in 2 windows of 1024, .*\n$/,
    );
    for (const line of stderr.split('\n')) assert.match(line, /^$|^(Loading|Evaluating): \d+\/\d+ /);
    assert.doesNotMatch(stderr, /[\p{Cc}--\n]/v);
  });
});

describe('the text', () => {
  test('is not there', async () => {
    await refused('file-not-found', '--text', join(root, 'nothing.txt'));
  });
  test('is a folder', async () => {
    mkdirSync(join(root, 'folder'));
    await refused('file-unreadable', '--text', join(root, 'folder'));
  });
  test('is empty', async () => {
    const stderr = await refused('eval-text-short', '--text', fileOf(''));
    assert.match(stderr, /has 0 tokens.*\n {2}fix Use a longer text\.\n/);
  });
  test('is shorter than a window', async () => {
    const file = fileOf('The fox went home.');
    const stderr = await refused('eval-text-short', '--text', file);
    const [, context = ''] = /--context (\d+) or less/.exec(stderr) ?? [];
    assert.equal((await marlinHere(['eval', '--text', file, '--context', context])).code, 0);
  });
  test('is no UTF-8', async () => {
    await refused('text-not-utf8', '--text', fileOf(Uint8Array.of(0x66, 0xff, 0xfe, 0x78)));
  });
  test('may begin with a byte order mark, which is no text', async () => {
    const line = ['--context', '8', '--json'];
    const [plain, marked] = [fileOf(story), fileOf(`\ufeff${story}`)];
    const perplexityOf = async (file: string): Promise<unknown> =>
      jsonOf(await marlinHere(['eval', '--text', file, ...line]))['perplexity'];
    assert.equal(await perplexityOf(marked), await perplexityOf(plain));
  });
});

test('a window of one token predicts nothing', async () => {
  assert.match(await refused('flag-invalid', '--text', book, '--context', '1'), /at least 2/);
});

test('a context beyond what the model was trained for', async () => {
  await refused('context-too-long', '--text', book, '--context', '1025');
});
