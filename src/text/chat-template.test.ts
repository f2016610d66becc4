import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { type ChatMessage, ChatTemplate, type RenderOptions } from './chat-template.ts';
import { tinyConfig, tinyTokenizer } from './tiny-tokenizers.fixture.ts';

const messages: readonly ChatMessage[] = [
  { role: 'user', content: ' Hello ' },
  { role: 'assistant', content: 'Hi {{ there }}' },
];

function render(source: string, options?: RenderOptions): string {
  return new ChatTemplate(source, { bos_token: '<s>' }, 'a file').render(messages, options);
}

describe('rendering', () => {
  test('gives the template its messages, its special tokens and the wish for a turn', () => {
    const source =
      '{{- bos_token }}{%- for message in messages %}' +
      "{{- '[' + message['role'] + ']\n' + message.content | trim }}{%- endfor %}" +
      "{%- if add_generation_prompt %}{{- '[assistant]' }}{%- endif %}";
    assert.equal(render(source), '<s>[user]\nHello[assistant]\nHi {{ there }}');
    assert.equal(
      render(source, { addGenerationPrompt: true }),
      '<s>[user]\nHello[assistant]\nHi {{ there }}[assistant]',
    );
  });

  test('tools and documents are none and defined; an unknown variable is nothing', () => {
    assert.equal(
      render('{% if tools is defined and tools is none %}A{% endif %}{% if not documents %}B{% endif %}'),
      'AB',
    );
    assert.equal(render('<{{ unk_token }}>'), '<>');
  });

  test('blocks take their line break with them, as in transformers', () => {
    assert.equal(render('{% if true %}\n  A\n  {% endif %}\nB\n'), '  A\nB');
  });

  test("a template's own exception is a refusal in its words", () => {
    assert.throws(() => render("{{ raise_exception('roles must alternate') }}"), {
      name: 'MarlinError',
      code: 'chat-template-refused',
      message: /a file .*roles must alternate/,
    });
  });

  test('what the engine cannot do is an error too', () => {
    assert.throws(() => render('{{ messages | no_such_filter }}'), {
      code: 'chat-template-refused',
      message: /no_such_filter/,
    });
    for (const source of ['{% if', '{% nonsense %}', '{{ 1 + }}', '{% for m in messages %}']) {
      assert.throws(() => render(source), { code: 'chat-template-invalid', message: /a file/ }, source);
    }
  });
});

function loop(body: string): string {
  return `{% for m in messages %}${body}{% endfor %}`;
}

describe('break and continue', () => {
  test('are fine before anything is printed', () => {
    const skip = "{% if m.role == 'user' %}{% continue %}{% endif %}";
    assert.equal(render(loop(`${skip}{{ m.content }};`)), 'Hi {{ there }};');
    assert.equal(render(loop(`{# note #}{% set x = 1 %}${skip}{{ m.role }}`)), 'assistant');
    assert.equal(render(loop(`{% if not m.role %}{{ raise_exception('no role') }}{% endif %}${skip}x`)), 'x');
    assert.equal(render(loop(`{% macro f() %}x{% endmacro %}${skip}{{ f() }}`)), 'x');
    assert.equal(render(`start ${loop('{% if loop.index == 2 %}{% break %}{% endif %}{{ m.role }}')}`), 'start user');
  });

  test('are refused after it, because the engine would lose it', () => {
    const lossy = [
      '{{ m.role }}{% continue %}',
      'text{% if m.role %}{% break %}{% endif %}',
      '{% if m.role %}{{ m.role }}{% break %}{% endif %}',
      '{% if m.role %}A{% else %}{% endif %}{% if m.content %}{% continue %}{% endif %}',
      '{% for c in m.content %}{{ c }}{% endfor %}{% break %}',
      loop('a{% break %}'),
    ];
    for (const body of lossy) {
      assert.throws(() => render(loop(body)), { code: 'chat-template-invalid', message: /break or continue/ }, body);
    }
    assert.throws(() => render(`{% macro f() %}${loop('a{% break %}')}{% endmacro %}`), {
      code: 'chat-template-invalid',
    });
  });
});

describe('loading', () => {
  const folder = mkdtempSync(join(tmpdir(), 'chat-template-'));
  after(() => rmSync(folder, { recursive: true }));
  beforeEach(() => rmSync(join(folder, 'chat_template.jinja'), { force: true }));
  const write = (config: object): void => writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
  const loaded = (): string | undefined => ChatTemplate.load(folder)?.render(messages);

  test('from tokenizer_config.json, with special tokens of either form', () => {
    write({ ...tinyConfig, chat_template: '{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ add_bos_token }}' });
    assert.equal(loaded(), '<|bos|>|<|eos|>||');
  });

  test('of several, the default one', () => {
    write({
      chat_template: [
        { name: 'tool_use', template: 'T' },
        { name: 'default', template: 'D' },
      ],
    });
    assert.equal(loaded(), 'D');
    write({ chat_template: [{ name: 'tool_use', template: 'T' }] });
    assert.throws(loaded, { code: 'chat-template-invalid', message: /"tool_use"/ });
    write({ chat_template: [] });
    assert.throws(loaded, { code: 'chat-template-invalid' });
  });

  test('chat_template.jinja comes first', () => {
    write({ ...tinyConfig, chat_template: 'no' });
    writeFileSync(join(folder, 'chat_template.jinja'), '{{ bos_token }} from the file\n');
    assert.equal(loaded(), '<|bos|> from the file');
  });

  test('null when the model has none', () => {
    for (const config of [{}, { chat_template: null }]) {
      write(config);
      assert.equal(ChatTemplate.load(folder), null);
    }
  });

  test('what is missing or wrong is named', () => {
    assert.throws(() => ChatTemplate.load(join(folder, 'nowhere')), { code: 'file-not-found' });
    write({ chat_template: 7 });
    assert.throws(loaded, { code: 'json-invalid', message: /tokenizer_config\.json.*chat_template/ });
    write({ chat_template: '{% if' });
    assert.throws(loaded, {
      code: 'chat-template-invalid',
      message: /tokenizer_config\.json/,
      fix: /chat_template\.jinja/,
    });
    rmSync(join(folder, 'tokenizer_config.json'));
    assert.throws(loaded, { code: 'tokenizer-missing' });
  });

  test('a rendered prompt encodes to control tokens where the template puts them', () => {
    write(tinyConfig);
    const prompt = ChatTemplate.load(folder)!.render([{ role: 'user', content: 'the' }], { addGenerationPrompt: true });
    assert.equal(prompt, '<|bos|><|user|>the<|eos|><|assistant|>');
    const tokenizer = tinyTokenizer();
    assert.deepEqual([...tokenizer.encode(prompt, { addSpecialTokens: false })].slice(0, 4), [
      0,
      2,
      tokenizer.tokenId('the'),
      1,
    ]);
  });
});

const shipped = join(import.meta.dirname, '../../models/storyteller-29m-w4');

test('the model that ships with the package', { skip: !existsSync(shipped) }, () => {
  const prompt = ChatTemplate.load(shipped)!.render([{ role: 'user', content: ' Tell me a story. ' }], {
    addGenerationPrompt: true,
  });
  assert.equal(
    prompt,
    '<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nTell me a story.<|eot_id|>' +
      '<|start_header_id|>assistant<|end_header_id|>\n\n',
  );
});
