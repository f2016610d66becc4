import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { PassThrough } from 'node:stream';
import { describe, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { Tokenizer } from '../text/tokenizer.ts';
import { embeddedModel } from './flags.ts';
import { main } from './main.ts';
import { errorCodeOf, jsonOf, marlin, marlinHere, type Ran } from './run-marlin.fixture.ts';

interface Told {
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly turns: readonly Readonly<Record<string, unknown>>[];
}

function isTold(value: object): value is Told {
  return 'messages' in value && Array.isArray(value.messages) && 'turns' in value && Array.isArray(value.turns);
}

function toldBy(ran: Ran): Told {
  assert.deepEqual([ran.code, ran.stderr], [0, '']);
  const value = jsonOf(ran);
  assert.ok(isTold(value));
  return value;
}

// With 8 bits, how many tokens are read at once would change the rounding, and by it the text.
const greedy = ['chat', '-t', '0', '-n', '24', '--activation-bits', '16', '--json'];

describe('on a pipe', () => {
  test('each line is answered; later turns read only what is new', async () => {
    const stdin = 'Tell me a story about a fox.\nWhat did it eat?\nAnd then?\n';
    const ran = await marlin(greedy, { stdin });
    const { messages, turns, ...rest } = toldBy(ran);
    assert.deepEqual(
      messages.map(({ role }) => role),
      ['user', 'assistant', 'user', 'assistant', 'user', 'assistant'],
    );
    assert.deepEqual(
      turns.map(({ text }) => text),
      messages.filter(({ role }) => role === 'assistant').map(({ content }) => content),
    );
    for (const turn of turns) {
      assert.ok(Number(turn['tokens']) > 0 && Number(turn['prefillTokensPerSecond']) > 0);
      assert.ok(['stop', 'length'].includes(String(turn['finishReason'])));
    }
    const read = turns.map(({ promptTokens }) => Number(promptTokens));
    assert.ok(read[1]! < read[0]! && read[2]! < read[1]!, String(read)); // the lines get shorter
    assert.deepEqual({ ...rest, seed: 0 }, { device: 'cpu', model: embeddedModel, seed: 0 });
  });

  test('what the model said is not read again, even where its tokens are not those of its text', async () => {
    const lines = ['Tell me a story about a fox.', 'And a cat?', 'More.', 'More.'];
    const { turns } = toldBy(await marlinHere(['chat', '-s', '4', '-n', '80', '--json'], lines.join('\n')));
    const tokenizer = Tokenizer.load(embeddedModel);
    for (const [i, turn] of turns.slice(0, -1).entries()) {
      const text = String(turn['text']);
      if (text !== text.trim()) continue; // the template trims, so that the seam is elsewhere
      const header = (role: string): string => `<|start_header_id|>${role}<|end_header_id|>\n\n`;
      const rest = `<|eot_id|>${header('user')}${lines[i + 1]!}<|eot_id|>${header('assistant')}`;
      const unread = turn['finishReason'] === 'length' ? 1 : 0; // the last token, which was made and not read
      const expected = tokenizer.encode(rest, { addSpecialTokens: false }).length + unread;
      assert.equal(turns[i + 1]!['promptTokens'], expected);
    }
  });

  test('a later turn answers as if all had been read anew', async () => {
    const lines = ['My fox is called Ruby.', 'What is it called?'];
    const { messages } = toldBy(await marlinHere(greedy, lines.join('\n')));
    const [, answer] = messages;
    // The same conversation as one text.
    const turn = (role: string, text: string): string => `<|start_header_id|>${role}<|end_header_id|>\n\n${text}`;
    const said = [turn('user', lines[0]!), turn('assistant', answer!.content), turn('user', lines[1]!)];
    const prompt = [...said, turn('assistant', '')].join('<|eot_id|>');
    const anew = jsonOf(await marlinHere(['generate', prompt, ...greedy.slice(1)]));
    assert.equal(messages[3]!.content, anew['text']);
  });

  test('/reset starts over', async () => {
    const { messages, turns } = toldBy(
      await marlinHere(greedy, 'Tell me about a fox.\n/reset\nTell me about a fox.\n'),
    );
    assert.equal(messages.length, 2);
    assert.equal(turns[1]!['text'], turns[0]!['text']);
    assert.ok(
      Number(turns[1]!['promptTokens']) < Number(turns[0]!['promptTokens']),
      'what both begin with is not read again',
    );
  });

  test('/exit leaves; empty lines and spaces around a line say nothing', async () => {
    const { messages } = toldBy(await marlinHere(greedy, '\n   \n  Hello there. \r\n /exit \nnot read\n'));
    assert.deepEqual(messages[0], { role: 'user', content: 'Hello there.' });
    assert.equal(messages.length, 2);
  });

  test('no line at all is a conversation too', async () => {
    const { messages, turns } = toldBy(await marlinHere(greedy));
    assert.deepEqual([messages, turns], [[], []]);
  });

  test('--system comes first, and stays after /reset', async () => {
    const ran = await marlinHere([...greedy, '--system', 'You are a fox.'], 'Hello.\n/reset\nHello.\n');
    const { messages, turns } = toldBy(ran);
    assert.deepEqual(messages[0], { role: 'system', content: 'You are a fox.' });
    assert.equal(messages.length, 3);
    assert.equal(turns[1]!['text'], turns[0]!['text']);
  });

  test('for people: only answers on standard output', async () => {
    const { turns } = toldBy(await marlinHere(greedy, 'Hello.\n'));
    const ran = await marlin(greedy.slice(0, -1), { stdin: 'Hello.\n' });
    assert.deepEqual([ran.code, ran.stdout], [0, `${String(turns[0]!['text'])}\n`]);
  });

  test('a conversation that outgrows the context ends with what to do', async () => {
    const line = ['chat', '--context', '48', '-n', '24', '-t', '0'];
    const stdin = 'Tell me a story about a fox.\nTell me a story about a hen.\nTell me more.\n';
    const ran = await marlinHere(line, stdin);
    assert.equal(ran.code, 2);
    assert.match(ran.stderr, /\[conversation-too-long\]\n {2}fix .*\/reset.*--context/);
    assert.notEqual(ran.stdout, '', 'the answers so far are kept');
    const json = await marlinHere([...line, '--json'], stdin);
    assert.deepEqual([json.code, errorCodeOf(json)], [2, 'conversation-too-long']);
  });

  test('Ctrl-C ends it with 130', async () => {
    const ran = await marlin(['chat', '-n', '900', '-t', '3', '-s', '1'], {
      stdin: 'Tell me a story.\nAnother one.\n',
      onOutput: (times, _stdout, child) => void (times === 1 && child.kill('SIGINT')),
    });
    assert.deepEqual([ran.code, ran.stderr], [130, 'Stopped.\n']);
  });
});

interface Person {
  readonly type: (keys: string) => void;
  /** Waits until what appeared since the last look matches. */
  readonly sees: (pattern: RegExp) => Promise<void>;
  /** The exit code. */
  readonly ended: Promise<number>;
}

/** A person at a terminal in which `marlin chat` runs. */
function personAt(...flags: readonly string[]): Person {
  const stdin = Object.assign(new PassThrough(), { isTTY: true });
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const screen = new EventEmitter();
  let unseen = '';
  for (const stream of [stdout, stderr]) {
    stream.on('data', (chunk) => {
      unseen += stripVTControlCharacters(String(chunk));
      screen.emit('change');
    });
  }
  return {
    type: (keys) => void stdin.write(keys),
    sees: async (pattern) => {
      while (!pattern.test(unseen)) await once(screen, 'change');
      unseen = '';
    },
    ended: main(['chat', ...flags], { stdin, stdout, stderr }),
  };
}

describe('in a terminal', { timeout: 30_000 }, () => {
  test('it explains itself, asks, answers and asks again', async () => {
    const { type, sees, ended } = personAt('-t', '0', '-n', '8');
    await sees(/Type a message.*\n.*> $/s);
    type('Hello.\r');
    await sees(/\n(?:.*\n)?.*> $/s);
    type('/reset\r');
    await sees(/A new conversation\.\n.*> $/s);
    type('/exit\r');
    assert.equal(await ended, 0);
  });

  test('Ctrl-C stops the answer and nothing else', async () => {
    const { type, sees, ended } = personAt('-t', '3', '-n', '900', '-s', '1');
    await sees(/> $/);
    type('Tell me a story.\r');
    await sees(/story\.[^]*\w/);
    type('\x03');
    await sees(/ …\n[^]*> $/);
    type('/exit\r');
    assert.equal(await ended, 0);
  });

  test('Ctrl-C and Ctrl-D at the prompt leave', async () => {
    for (const key of ['\x03', '\x04']) {
      const { type, sees, ended } = personAt();
      await sees(/> $/);
      type(key);
      await sees(/^\n$/); // so that what comes next has a line of its own
      assert.equal(await ended, 0);
    }
  });

  test('a message that is too long is refused, and the conversation goes on', async () => {
    const { type, sees, ended } = personAt('-t', '0', '-n', '4', '--context', '40');
    await sees(/> $/);
    type(`${'word '.repeat(50)}\r`);
    await sees(/\[conversation-too-long\]\n[^]*> $/);
    type('Hello.\r');
    await sees(/--max-tokens reached[^]*> $/);
    type('/exit\r');
    assert.equal(await ended, 0);
  });
});
