// marlin chat: a conversation in the terminal, or from lines on a pipe.
import { createInterface, type Interface } from 'node:readline';
import type { Command } from 'commander';
import { errors, MarlinError } from '../base/errors.ts';
import type { FinishReason } from '../model/generate.ts';
import { Sampler } from '../model/sampling.ts';
import { ChatTemplate } from '../text/chat-template.ts';
import { Conversation, type Turn } from './conversation.ts';
import { printProblem } from './failure.ts';
import {
  freshSeed,
  type ModelFlags,
  samplingParameters,
  type SamplingFlags,
  withModelFlags,
  withSamplingFlags,
} from './flags.ts';
import { Interrupted } from './interrupt.ts';
import { openFolder, openWeights } from './open.ts';
import type { Output } from './output.ts';
import type { Verb } from './verb.ts';

interface ChatFlags extends ModelFlags, SamplingFlags {
  readonly system?: string;
}

const HELP = 'Type a message and press Enter. /reset starts over, /exit (or Ctrl-D) leaves, Ctrl-C stops the answer.';

/** Keys and values are planned for the whole context; what newer models were trained for (131,072) would need gigabytes. */
const DEFAULT_CONTEXT = 4096;

async function run(flags: ChatFlags, output: Output, signal: AbortSignal): Promise<unknown> {
  const folder = openFolder(flags.model);
  const template = ChatTemplate.load(flags.model);
  if (template === null) throw errors.chatTemplateMissing(flags.model);
  const seed = flags.seed ?? freshSeed();
  const sampler = new Sampler(samplingParameters(flags, folder.defaults), seed);
  const context = flags.context ?? Math.min(folder.config.contextLength, DEFAULT_CONTEXT);
  using model = await openWeights(folder, flags, context, output);
  using sequence = model.newSequence();
  const { maxTokens, system } = flags;
  const conversation = new Conversation({
    model,
    sequence,
    template,
    sampler,
    maxTokens,
    ...(system === undefined ? {} : { system }),
  });
  const turns = await converse(conversation, output, signal);
  signal.throwIfAborted();
  return { messages: conversation.messages, turns, device: model.device, model: model.path, seed };
}

/** Takes lines and prints answers until the lines end. A terminal forgives mistakes; on a pipe the first one ends the conversation. */
async function converse(conversation: Conversation, output: Output, signal: AbortSignal): Promise<Turn[]> {
  const { stdin, stderr } = output.streams;
  const interactive = stdin.isTTY === true && !output.json;
  const lines = createInterface({
    input: stdin,
    ...(interactive ? { output: stderr } : {}),
    terminal: interactive,
    prompt: '> ',
    signal,
  });
  const prompt = (): void => void (interactive && lines.prompt());
  const turns: Turn[] = [];
  if (interactive) output.note(HELP);
  prompt();
  for await (const line of lines) {
    const message = line.trim();
    if (message === '/exit') return turns;
    if (message === '/reset') {
      conversation.reset();
      output.note('A new conversation.');
    } else if (message !== '') {
      try {
        turns.push(...(await answer(conversation, message, lines, output, signal)));
      } catch (error) {
        if (!interactive || !(error instanceof MarlinError)) throw error;
        printProblem(error, output);
      }
    }
    prompt();
  }
  if (interactive) stderr.write('\n'); // Ctrl-D leaves the cursor behind the prompt
  return turns;
}

const REMARKS: Readonly<Record<FinishReason, string | null>> = {
  stop: null,
  length: '(--max-tokens reached)',
  context: '(the context is full: /reset starts over)',
};

/** One answer on the screen; none in the result if Ctrl-C in the terminal stopped it, which ends nothing else. */
async function answer(
  conversation: Conversation,
  message: string,
  lines: Interface,
  output: Output,
  signal: AbortSignal,
): Promise<Turn[]> {
  const stopping = new AbortController();
  const stop = (): void => stopping.abort(new Interrupted('SIGINT'));
  lines.on('SIGINT', stop);
  try {
    const either = AbortSignal.any([signal, stopping.signal]);
    const turn = await conversation.answer(message, (text) => output.text(text), output, either);
    output.text('\n');
    const remark = REMARKS[turn.finishReason];
    if (remark !== null) output.note(remark);
    return [turn];
  } catch (error) {
    if (error instanceof Interrupted) output.text(' …\n');
    if (error !== stopping.signal.reason) throw error;
    return [];
  } finally {
    lines.off('SIGINT', stop);
  }
}

export const chat: Verb = {
  name: 'chat',
  examples: [
    'marlin chat',
    'marlin chat --system "You tell short stories." --temperature 0.6',
    'echo "Tell me about a fox." | marlin chat --json',
  ],
  define: (command: Command, action) =>
    withSamplingFlags(
      withModelFlags(
        command
          .description('talk with a model, turn by turn; /reset starts over, /exit leaves')
          .option('--system <text>', 'what the model is told before the conversation'),
        {
          meaning: `most tokens of a conversation (default: what the model was trained for, at most ${DEFAULT_CONTEXT})`,
          least: 1,
        },
      ),
      400,
    ).action((flags: ChatFlags) => action((output, signal) => run(flags, output, signal))),
};
