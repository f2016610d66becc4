// Messages to prompt text, by the Jinja template that comes with a model: a thin face over @huggingface/jinja.
// The engine prints true, false and none differently from Python ("true", "false", nothing); a template that prints them goes wrong.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Template } from '@huggingface/jinja';
import { z } from 'zod';
import { errors } from '../base/errors.ts';
import { reading, readJson } from '../formats/files.ts';
import { tokenizerFile } from './tokenizer.ts';

export interface ChatMessage {
  /** 'system', 'user' or 'assistant'; some templates know more. */
  readonly role: string;
  readonly content: string;
}

export interface RenderOptions {
  /** Ends the prompt with the opening of the assistant's next turn. Default false. */
  readonly addGenerationPrompt?: boolean;
}

/** What is used of the package's class; its own type declarations do not resolve under `nodenext` and would read as `any`. */
interface Engine {
  render(variables: Record<string, unknown>): string;
  readonly parsed: { readonly body: readonly Node[] };
}

/** A statement or expression of the parsed template. */
interface Node {
  readonly type: string;
  readonly body?: readonly Node[];
  /** The `else` of an `if`. */
  readonly alternate?: readonly Node[];
  /** The `else` of a `for`. */
  readonly defaultBlock?: readonly Node[];
  readonly callee?: { readonly value?: unknown };
}

const tokenizerConfig = z.looseObject({
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});

const token = z.union([z.string(), z.looseObject({ content: z.string() }).transform((added) => added.content)]);

/** The chat template of a model. Encode what it renders with `addSpecialTokens: false`: the text has its own BOS. */
export class ChatTemplate {
  private readonly engine: Engine;
  private readonly path: string;
  /** bos_token, eos_token and the like, as templates name them. */
  private readonly tokens: Readonly<Record<string, string>>;

  /**
   * The template of a model folder: chat_template.jinja, or else `chat_template` of tokenizer_config.json (of several, the one
   * named "default"); null when there is neither.
   * Errors: `file-not-found`, `file-unreadable`, `tokenizer-missing`, `json-invalid`, `chat-template-invalid`.
   */
  static load(folder: string): ChatTemplate | null {
    const configPath = tokenizerFile(folder, 'tokenizer_config.json');
    const config = readJson(configPath, tokenizerConfig);
    const path = join(folder, 'chat_template.jinja');
    if (existsSync(path)) {
      const source = reading(path, () => readFileSync(path, 'utf8'));
      return new ChatTemplate(source, specialTokens(config), path);
    }
    const source = chooseTemplate(config.chat_template ?? null, configPath);
    return source === null ? null : new ChatTemplate(source, specialTokens(config), configPath);
  }

  /** `path` is for messages only. Errors: `chat-template-invalid`. */
  constructor(source: string, tokens: Readonly<Record<string, string>>, path: string) {
    this.path = path;
    this.tokens = tokens;
    try {
      this.engine = new Template(source);
    } catch (cause) {
      throw errors.chatTemplateInvalid(path, cause);
    }
    if (losesText(this.engine.parsed.body, false).lost) {
      throw errors.chatTemplateInvalid(
        path,
        'it has a break or continue after printing, and would lose what was printed',
      );
    }
  }

  /** The prompt for a conversation. Errors: `chat-template-refused`, also when the template itself raises an exception. */
  render(messages: readonly ChatMessage[], options: RenderOptions = {}): string {
    const { addGenerationPrompt = false } = options;
    try {
      return this.engine.render({
        ...this.tokens,
        messages,
        add_generation_prompt: addGenerationPrompt,
        // Given as none, as transformers does: some templates ask whether they are defined, some whether they are none.
        tools: null,
        documents: null,
      });
    } catch (cause) {
      throw errors.chatTemplateRefused(this.path, cause);
    }
  }
}

function chooseTemplate(
  found: string | readonly { name: string; template: string }[] | null,
  path: string,
): string | null {
  if (found === null || typeof found === 'string') return found;
  const chosen = found.find((entry) => entry.name === 'default');
  if (chosen !== undefined) return chosen.template;
  const names = found.map((entry) => `"${entry.name}"`).join(', ');
  throw errors.chatTemplateInvalid(path, `it is a list without a "default" (it has ${names || 'nothing'})`);
}

function specialTokens(config: Readonly<Record<string, unknown>>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(config)) {
    const parsed = token.safeParse(value);
    if (name.endsWith('_token') && parsed.success) found[name] = parsed.data;
  }
  return found;
}

/**
 * Whether a `break` or `continue` can come after something was printed in the same turn of its loop. The engine (0.5.11) leaves
 * the loop by an exception and forgets that text; a wrong prompt would go unnoticed, so such a template is refused.
 */
function losesText(statements: readonly Node[], printedBefore: boolean): { printed: boolean; lost: boolean } {
  let printed = printedBefore;
  let lost = false;
  const enter = (body: readonly Node[] | undefined, before: boolean): boolean => {
    const inside = losesText(body ?? [], before);
    lost ||= inside.lost;
    return inside.printed;
  };
  for (const statement of statements) {
    switch (statement.type) {
      case 'Break':
      case 'Continue':
        lost ||= printed;
        break;
      case 'If': {
        const branches = [enter(statement.body, printed), enter(statement.alternate, printed)];
        printed = branches.includes(true);
        break;
      }
      case 'For': {
        const turn = enter(statement.body, false);
        printed = enter(statement.defaultBlock, printed) || turn;
        break;
      }
      case 'Macro':
        enter(statement.body, false);
        break;
      case 'Set':
      case 'Comment':
        break;
      default:
        // Everything else prints, but for a call that never returns.
        printed ||= statement.callee?.value !== 'raise_exception';
        enter(statement.body, true);
    }
  }
  return { printed, lost };
}
