// The model of the package on the GPU against the CPU with 16-bit activations: greedy texts, perplexity; and how fast it is.
import { fileURLToPath } from 'node:url';
import type { Device } from '../../src/device/device.ts';
import { generate } from '../../src/model/generate.ts';
import { type LanguageModel, openModel, openModelOn } from '../../src/model/language-model.ts';
import { windowLosses } from '../../src/model/perplexity.ts';
import { drawingOf, neutralSampling, Sampler } from '../../src/model/sampling.ts';
import { Tokenizer } from '../../src/text/tokenizer.ts';
import type { Trial } from './trial.ts';

const folder = fileURLToPath(new URL('../../models/storyteller-29m-w4', import.meta.url));
const PROMPTS = ['Once upon a time', 'The old king looked at the sea and', 'Tom and his sister found a small red box.'];
const TOKENS = 64;
const MOST_DIFFERENCE = 0.002;

/** Written for this test. */
const STORY = `One morning a little girl named Ada woke up early. The sun was still behind the hill and the grass was wet. She put on her boots
and went to the garden to look for her cat. The cat was not under the tree and not behind the house. Ada called its name three times. Then she heard
a soft sound from the well. She ran there and looked down. The cat sat on a stone above the water and was afraid. Ada did not know what to do, so she
asked her grandfather for help. He brought a long rope and a basket. They let the basket down, and the cat climbed in. Slowly they pulled it up. Ada
was so happy that she hugged the cat and then her grandfather. "Thank you," she said. "Next time we will put a lid on the well." Her grandfather
smiled and said that this was a very good idea. That day they built a lid out of old wood. The cat watched them from the wall and was quiet. In the
evening they drank warm milk together, and nobody was afraid any more.`;

const drawing = drawingOf({ ...neutralSampling, temperature: 0 }, 0) ?? undefined;

interface Text {
  readonly ids: readonly number[];
  readonly seconds: number;
}

function textOf(model: LanguageModel, prompt: Uint32Array, onDevice: boolean): Text {
  using sequence = model.newSequence();
  const sampler = new Sampler({ ...neutralSampling, temperature: 0 }, 0);
  const steps = generate(sequence, {
    prompt,
    maxTokens: TOKENS,
    context: model.context,
    eosTokenIds: new Set(),
    ...(onDevice && drawing !== undefined ? { drawing } : {}),
    sample: (logits, tokens) => sampler.sample(logits, tokens),
  });
  const ids: number[] = [];
  for (;;) {
    const step = steps.next();
    if (step.done === true) return { ids, seconds: step.value.decodeSeconds };
    ids.push(step.value);
  }
}

function perplexity(model: LanguageModel, ids: Uint32Array): number {
  using sequence = model.newSequence();
  const losses = windowLosses(sequence, model.config.vocabSize, ids);
  return Math.exp(losses.reduce((a, b) => a + b, 0) / losses.length);
}

/** The same model on both, for one trial. */
function compared<T>(device: Device, of: (cpu: LanguageModel, gpu: LanguageModel, tokenizer: Tokenizer) => T): T {
  const tokenizer = Tokenizer.load(folder);
  using cpu = openModel(folder, { activationBits: 16 });
  using gpu = openModelOn(device, folder);
  return of(cpu, gpu, tokenizer);
}

const texts = PROMPTS.flatMap((prompt) =>
  [false, true].map((onDevice): Trial => ({
    name: `the model: greedy text, drawn on the ${onDevice ? 'GPU' : 'host'}: ${prompt}`,
    run: (device) =>
      compared(device, (cpu, gpu, tokenizer) => {
        const ids = tokenizer.encode(prompt);
        const expected = textOf(cpu, ids, false);
        textOf(gpu, ids, onDevice); // loads the kernels
        const { ids: found, seconds } = textOf(gpu, ids, onDevice);
        const equal = found.findIndex((id, i) => id !== expected.ids[i]);
        const where = equal === -1 ? 'equal' : `another after ${equal} tokens`;
        const speed = `${Math.round((TOKENS - 1) / seconds)} tokens/s`;
        return { ok: equal === -1, detail: `${TOKENS} tokens, ${where}; ${speed}` };
      }),
  })),
);

const story: Trial = {
  name: 'the model: perplexity of a story',
  run: (device) =>
    compared(device, (cpu, gpu, tokenizer) => {
      const ids = tokenizer.encode(STORY);
      const [a, b] = [perplexity(cpu, ids), perplexity(gpu, ids)];
      const difference = Math.abs(b / a - 1);
      const most = `at most ${100 * MOST_DIFFERENCE} %`;
      return {
        ok: difference <= MOST_DIFFERENCE,
        detail: `${b.toFixed(4)}, on the CPU ${a.toFixed(4)}: ${(100 * difference).toFixed(3)} % (${most})`,
      };
    }),
};

export const modelTrials: readonly Trial[] = [...texts, story];
