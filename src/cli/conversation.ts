// A conversation through a chat template in one sequence: each turn reads only what the sequence does not hold yet. Knows no terminal.
import { errors } from '../base/errors.ts';
import type { FinishReason } from '../model/generate.ts';
import type { Sampler } from '../model/sampling.ts';
import type { Sequence } from '../model/sequence.ts';
import type { ChatMessage, ChatTemplate } from '../text/chat-template.ts';
import type { TextModel } from './open.ts';
import type { Output } from './output.ts';
import { speeds, stream } from './stream.ts';

export interface Turn {
  readonly text: string;
  readonly tokens: number;
  /** Tokens that had to be read; those of earlier turns are held. */
  readonly promptTokens: number;
  readonly tokensPerSecond: number;
  readonly prefillTokensPerSecond: number;
  readonly finishReason: FinishReason;
}

export interface ConversationOptions {
  readonly model: TextModel;
  /** Of the model; the conversation is all that uses it. */
  readonly sequence: Sequence;
  readonly template: ChatTemplate;
  readonly sampler: Sampler;
  readonly maxTokens: number;
  /** What the model is told before the conversation. */
  readonly system?: string;
}

export class Conversation {
  messages: readonly ChatMessage[];
  private readonly options: ConversationOptions;
  private readonly opening: readonly ChatMessage[];
  /** All that was said, as tokens and as text; the sequence holds the first of the tokens. */
  private tokens: readonly number[] = [];
  private text = '';

  constructor(options: ConversationOptions) {
    this.options = options;
    this.opening = options.system === undefined ? [] : [{ role: 'system', content: options.system }];
    this.messages = this.opening;
  }

  /** Begins a new conversation. */
  reset(): void {
    this.messages = this.opening;
  }

  /**
   * The model's answer to a message, handed to `say` as it is made. An answer that was stopped stays in the conversation as far as it came; a
   * message without any answer does not. Errors: `conversation-too-long`, `chat-template-refused`, those of `stream`.
   */
  async answer(content: string, say: (text: string) => void, output: Output, signal: AbortSignal): Promise<Turn> {
    const { model, sequence, template, sampler, maxTokens } = this.options;
    const asked: readonly ChatMessage[] = [...this.messages, { role: 'user', content }];
    const prompt = template.render(asked, { addGenerationPrompt: true });
    const ids = this.encode(prompt);
    if (ids.length >= model.context) throw errors.conversationTooLong(ids.length, model.context);
    // At least one token must be read again, to have logits to sample from.
    const kept = Math.min(sharedPrefix(this.tokens.slice(0, sequence.length), ids), ids.length - 1);
    sequence.truncate(kept);
    const made: number[] = [];
    let text = '';
    const onText = (piece: string, token: number | null): void => {
      text += piece;
      if (token !== null) made.push(token);
      if (piece !== '') say(piece);
    };
    const request = { prompt: Uint32Array.from(ids.slice(kept)), earlier: ids.slice(0, kept), continues: false };
    try {
      const result = await stream(model, sequence, { ...request, maxTokens, sampler, onText }, output, signal);
      this.messages = [...asked, { role: 'assistant', content: text }];
      const { tokens, promptTokens, finishReason } = result;
      return { text, tokens, promptTokens, ...speeds(result), finishReason };
    } catch (error) {
      if (text !== '') this.messages = [...asked, { role: 'assistant', content: text }];
      throw error;
    } finally {
      this.tokens = [...ids, ...made];
      this.text = prompt + text;
    }
  }

  /**
   * The tokens of a prompt. Where it goes on from what was said, that keeps its tokens: encoded again, a fifth of the answers of a small model came
   * out as other tokens, and all that followed had to be read again.
   */
  private encode(prompt: string): readonly number[] {
    const { tokenizer } = this.options.model;
    const encode = (text: string): number[] => Array.from(tokenizer.encode(text, { addSpecialTokens: false }));
    if (prompt.startsWith(this.text)) {
      const rest = encode(prompt.slice(this.text.length));
      // No token spans the seam if a special one begins there, such as the end of a turn.
      if (rest[0] !== undefined && tokenizer.isSpecial(rest[0])) return [...this.tokens, ...rest];
    }
    return encode(prompt);
  }
}

/** How many tokens both lists begin with. */
export function sharedPrefix(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}
