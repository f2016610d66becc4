// The catalogue of everything that can go wrong for a user: a stable code, what happened in their words, how to fix it.

/** An error a user can act on. The command line prints `message` and `fix` and exits with 2. */
export class MarlinError extends Error {
  override readonly name = 'MarlinError';
  readonly code: string;
  readonly fix: string;

  constructor(code: string, message: string, fix: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.fix = fix;
  }
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/** What the PTX compiler of the driver wrote, as a last sentence; it may have many lines. */
function compilerLog(log: string): string {
  return log === '' ? '' : ` Its compiler says: ${log.replace(/[.\s]+$/, '')}.`;
}

/** One entry per mistake: `throw errors.fileNotFound(path)`. */
export const errors = {
  // ---- files
  fileNotFound: (path: string): MarlinError =>
    new MarlinError(
      'file-not-found',
      `There is no file or folder ${path}.`,
      'Check the path; relative paths start where the command runs.',
    ),
  fileUnreadable: (path: string, cause: unknown): MarlinError =>
    new MarlinError(
      'file-unreadable',
      `${path} cannot be read: ${reason(cause)}.`,
      'Check that the file is readable for this user.',
      cause,
    ),
  outputUnwritable: (path: string, cause: unknown): MarlinError =>
    new MarlinError(
      'output-unwritable',
      `${path} cannot be written: ${reason(cause)}.`,
      'Choose a folder that exists, is writable and has room.',
      cause,
    ),
  jsonInvalid: (path: string, detail: string): MarlinError =>
    new MarlinError(
      'json-invalid',
      `${path} is not what it should be: ${detail}.`,
      'Download the file again, or correct the named field.',
    ),

  // ---- the command line
  flagInvalid: (flag: string, value: string, expected: string): MarlinError =>
    new MarlinError(
      'flag-invalid',
      `${flag} ${value.trim() === '' ? '""' : value} is not usable: expected ${expected}.`,
      `Give ${flag} ${expected}; "--help" shows examples.`,
    ),

  commandInvalid: (what: string, verb: string | null, hint = ''): MarlinError =>
    new MarlinError(
      'command-invalid',
      `The command line is not understood: ${what}.`,
      `${hint}${verb === null ? 'See "marlin --help" for the verbs.' : `See "marlin ${verb} --help" for examples.`}`,
    ),
  pathEmpty: (flag: string): MarlinError =>
    new MarlinError('path-empty', `${flag} is empty.`, `Give ${flag} the path of a file or folder.`),
  notAFolder: (path: string): MarlinError =>
    new MarlinError('not-a-folder', `${path} is a file, not the folder of a model.`, 'Give the folder it lies in.'),

  // ---- checkpoints (safetensors, config.json, quantized forms)
  safetensorsTruncated: (path: string, expected: number, found: number): MarlinError =>
    new MarlinError(
      'safetensors-truncated',
      `${path} is cut short: its header promises ${expected} bytes, the file has ${found}.`,
      'Download or copy the file again.',
    ),
  safetensorsInvalid: (path: string, detail: string): MarlinError =>
    new MarlinError(
      'safetensors-invalid',
      `${path} is not a valid safetensors file: ${detail}.`,
      'Download the file again; if it stays so, export the model again as safetensors.',
    ),
  safetensorsTensorInvalid: (path: string, tensor: string, detail: string): MarlinError =>
    new MarlinError(
      'safetensors-tensor-invalid',
      `The header of ${path} describes the tensor ${JSON.stringify(tensor)} wrongly: ${detail}.`,
      'Download the file again; if it stays so, export the model again as safetensors.',
    ),
  checkpointMissing: (path: string): MarlinError =>
    new MarlinError(
      'checkpoint-missing',
      `The folder ${path} has neither model.safetensors nor model.safetensors.index.json.`,
      'Give the folder of a model in safetensors form (Hugging Face layout); .bin and .gguf files are not read.',
    ),
  shardMissing: (index: string, file: string): MarlinError =>
    new MarlinError(
      'shard-missing',
      `${index} names the file ${file}, which is not there.`,
      'Download the missing file into the same folder.',
    ),
  tensorMissing: (path: string, tensor: string, near: readonly string[]): MarlinError =>
    new MarlinError(
      'tensor-missing',
      `${path} has no tensor ${tensor}${near.length === 0 ? '' : ` (the nearest names are ${near.join(', ')})`}.`,
      'Check that the download is complete and that config.json belongs to these weights.',
    ),
  tensorMismatch: (path: string, tensor: string, expected: string, found: string): MarlinError =>
    new MarlinError(
      'tensor-mismatch',
      `The tensor ${tensor} of ${path} does not fit: expected ${expected}, found ${found}.`,
      'Check that config.json belongs to these weights.',
    ),
  architectureUnsupported: (path: string, found: string, supported: string): MarlinError =>
    new MarlinError(
      'architecture-unsupported',
      `${path} describes a model of the kind "${found}", which is not supported.`,
      `Choose a model whose model_type is one of ${supported}.`,
    ),
  configUnsupported: (path: string, field: string, found: string, supported: string): MarlinError =>
    new MarlinError(
      'config-unsupported',
      `${path} sets ${field} to ${found}, which is not supported.`,
      `Choose a model whose ${field} is ${supported}.`,
    ),
  quantizationUnsupported: (path: string, field: string, found: string, supported: string): MarlinError =>
    new MarlinError(
      'quantization-unsupported',
      `${path} sets ${field} to ${found} in its quantization, which is not supported.`,
      `Supported is ${supported}. Quantize the original 16-bit model with "marlin quantize".`,
    ),

  quantizationDisagrees: (path: string, tensor: string, method: string): MarlinError =>
    new MarlinError(
      'quantization-disagrees',
      `${path} has the tensor ${tensor}, which is not of the quantization "${method}" that its configuration names.`,
      'Check that config.json belongs to these weights.',
    ),

  // ---- converting
  notQuantized: (path: string): MarlinError =>
    new MarlinError(
      'not-quantized',
      `The model in ${path} is not quantized, so there is nothing to convert.`,
      'Make a 4-bit model of it first: "marlin quantize".',
    ),
  conversionLossy: (tensor: string, format: string, what: string, fix: string): MarlinError =>
    new MarlinError(
      'conversion-lossy',
      `${tensor} cannot be kept as it is in the format ${format}: ${what}.`,
      `${fix}.`,
    ),

  // ---- quantizing
  alreadyQuantized: (path: string): MarlinError =>
    new MarlinError(
      'already-quantized',
      `The model in ${path} is quantized already.`,
      'Give the original 16-bit model: quantizing twice only loses accuracy.',
    ),
  outputExists: (path: string): MarlinError =>
    new MarlinError(
      'output-exists',
      `${path} exists already and is not an empty folder.`,
      'Choose another output folder, or remove this one first.',
    ),
  groupInvalid: (tensor: string, columns: number, group: number): MarlinError =>
    new MarlinError(
      'group-invalid',
      `A group of ${group} weights does not divide the ${columns} input channels of ${tensor}.`,
      'Choose a group size that divides every layer (128, 64 and 32 are usual), or one scale per channel.',
    ),
  weightNotFinite: (tensor: string, found: number): MarlinError =>
    new MarlinError(
      'weight-not-finite',
      `The tensor ${tensor} holds the value ${found}, which cannot be quantized.`,
      'Download the model again; if it stays so, the model itself is broken.',
    ),
  scaleOverflow: (tensor: string, found: number, dtype: string): MarlinError =>
    new MarlinError(
      'scale-overflow',
      `A quantization scale of ${tensor} is ${found}, which does not fit ${dtype}.`,
      'Use a model whose weights are in the usual range; this one may be broken.',
    ),

  hessianNotPositive: (module: string, tokens: number, damp: number, pivot: number): MarlinError =>
    new MarlinError(
      'hessian-not-positive',
      `The inputs of ${module} say too little about its weights: with dampening ${damp} and ${tokens} calibration tokens the smallest pivot is ${pivot.toPrecision(3)}.`,
      'Calibrate with more text (--samples, --length), or with text of the kind the model reads; if inputs are infinite, the model is broken.',
    ),

  workDiffers: (folder: string): MarlinError =>
    new MarlinError(
      'work-differs',
      `The folder ${folder} holds the unfinished work of another quantization: of another model, text or recipe.`,
      'Run it again with the options it was begun with, or delete the folder to start anew.',
    ),
  nothingToResume: (folder: string): MarlinError =>
    new MarlinError(
      'nothing-to-resume',
      `There is no unfinished work in ${folder}.`,
      'Leave out --resume to start; work that was interrupted is continued without it, too.',
    ),

  // ---- the CPU backend
  cpuUnsupported: (): MarlinError =>
    new MarlinError(
      'cpu-unsupported',
      'This JavaScript engine has no WebAssembly SIMD with threads.',
      'Use Node 24 or newer on a 64-bit machine.',
    ),
  cpuMemoryExceeded: (bytes: number): MarlinError =>
    new MarlinError(
      'cpu-memory-exceeded',
      `The model needs ${(bytes / 2 ** 30).toFixed(2)} GiB, and the CPU backend can hold 4 GiB.`,
      'Use a smaller model or a shorter --context, quantize it to 4 bits ("marlin quantize"), or run it on a GPU.',
    ),
  cpuMemoryRefused: (bytes: number, cause: unknown): MarlinError =>
    new MarlinError(
      'cpu-memory-refused',
      `The system does not give the ${(bytes / 2 ** 30).toFixed(2)} GiB that the model needs: ${reason(cause)}.`,
      'Close other programs, raise the memory limit (ulimit -v, the container), or use a smaller model or --context.',
      cause,
    ),
  groupUnsupported: (group: number): MarlinError =>
    new MarlinError(
      'group-unsupported',
      `A group of ${group} inputs is not supported.`,
      'Use a group that is a multiple of 8, such as 32, 64 or 128, or one per channel.',
    ),
  groupUnpackable: (name: string, group: number): MarlinError =>
    new MarlinError(
      'group-unpackable',
      `${name} has groups of ${group} inputs, which the packed form cannot hold.`,
      'Use a group of 32, 64 or a multiple of 128, or one per channel.',
    ),
  scaleNotFinite: (name: string, row: number, group: number, found: number): MarlinError =>
    new MarlinError(
      'scale-not-finite',
      `${name} has the scale ${found} in row ${row}, group ${group}.`,
      'Quantize the original 16-bit model again; if it stays so, the model itself is broken.',
    ),
  headDimUnsupported: (headDim: number): MarlinError =>
    new MarlinError(
      'head-dim-unsupported',
      `A head_dim that is no multiple of 32 is not supported; this model has ${headDim}.`,
      'Use another model.',
    ),
  columnsUnsupported: (tensor: string, columns: number): MarlinError =>
    new MarlinError(
      'columns-unsupported',
      `Layers whose number of inputs is no multiple of 8 are not supported; ${tensor} has ${columns}.`,
      'Use another model.',
    ),
  embeddingQuantized: (): MarlinError =>
    new MarlinError(
      'embedding-quantized',
      'The embedding of this checkpoint is quantized.',
      'Use a checkpoint that keeps model.embed_tokens in 16 bits (put it on the ignore list).',
    ),
  kernelsNotBuilt: (path: string): MarlinError =>
    new MarlinError(
      'kernels-not-built',
      `The WebAssembly kernels ${path} have not been built.`,
      'Run "npm run build" in the checkout.',
    ),

  // ---- tokenizer and chat template
  tokenizerMissing: (folder: string, file: string): MarlinError =>
    new MarlinError(
      'tokenizer-missing',
      `The folder ${folder} has no ${file}.`,
      'Download it from where the weights came from, into the same folder.',
    ),
  tokenizerInvalid: (path: string, cause: unknown): MarlinError =>
    new MarlinError(
      'tokenizer-invalid',
      `The tokenizer in ${path} cannot be used: ${reason(cause)}.`,
      'Download the file again; if it stays so, this kind of tokenizer is not supported.',
      cause,
    ),
  decoderUnsupported: (found: string): MarlinError =>
    new MarlinError(
      'decoder-unsupported',
      `The text of this tokenizer cannot be streamed: its decoder has ${found}.`,
      'Choose a model with a byte-level, byte-fallback or Metaspace tokenizer.',
    ),
  specialTokenInText: (token: string): MarlinError =>
    new MarlinError(
      'special-token-in-text',
      `The text spells the special token ${token}, and this tokenizer cannot encode that as plain text.`,
      'Take it out of the text.',
    ),
  chatTemplateInvalid: (path: string, cause: unknown): MarlinError =>
    new MarlinError(
      'chat-template-invalid',
      `The chat template in ${path} cannot be used: ${reason(cause)}.`,
      'Put a corrected template into a file chat_template.jinja beside the weights; it is taken first.',
      cause,
    ),
  chatTemplateRefused: (path: string, cause: unknown): MarlinError =>
    new MarlinError(
      'chat-template-refused',
      `The chat template in ${path} does not accept these messages: ${reason(cause)}.`,
      'Check the roles and their order: most templates want at most one system message, then user and assistant in turn.',
      cause,
    ),

  // ---- sampling
  samplingInvalid: (parameter: string, found: number, expected: string): MarlinError =>
    new MarlinError('sampling-invalid', `${parameter} ${found} is not usable.`, `Give ${parameter} ${expected}.`),
  logitsNotFinite: (token: number, found: number): MarlinError =>
    new MarlinError(
      'logits-not-finite',
      `The model computed the logit ${found} for token ${token}.`,
      'Download the checkpoint again; if it is intact, its activations overflow: try the original 16-bit weights.',
    ),
  noTokenPossible: (): MarlinError =>
    new MarlinError(
      'no-token-possible',
      'No token can come next: every logit is -Infinity.',
      'Loosen what the output is restricted to.',
    ),

  logitsNotDrawable: (): MarlinError =>
    new MarlinError(
      'logits-not-drawable',
      'The model computed logits that are no finite numbers.',
      'Download the checkpoint again; if it is intact, its activations overflow 16 bits: try --device cpu.',
    ),

  // ---- models
  weightOverflow: (tensor: string, row: number, column: number): MarlinError =>
    new MarlinError(
      'weight-overflow',
      `The weight of ${tensor} in row ${row}, column ${column} is no number that fits f16, which the GPU backend multiplies.`,
      'Use --device cpu for this model; if it fails there too, download the model again.',
    ),
  modelTooLarge: (sizes: {
    readonly needed: number;
    readonly weights: number;
    readonly cache: number;
    readonly activations: number;
    readonly free: number;
    readonly context: number;
    /** The largest context that has room. */
    readonly fits: number;
  }): MarlinError => {
    const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
    const { needed, weights, cache, activations, free, context, fits } = sizes;
    return new MarlinError(
      'model-too-large',
      `The model needs ${gib(needed)} on the GPU, and ${gib(free)} are free: weights ${gib(weights)}, a context of ${context} tokens ${gib(cache)}, activations and programs ${gib(activations)}.`,
      fits > 0
        ? `Use --context ${fits} or less, or end other programs on the GPU ("nvidia-smi" lists them).`
        : 'Use a smaller model, end other programs on the GPU ("nvidia-smi" lists them), or use --device cpu.',
    );
  },
  deviceUnavailable: (device: string, why: string): MarlinError =>
    new MarlinError(
      'device-unavailable',
      `The device ${device} cannot be used: ${why}.`,
      'Use --device cpu or --device auto; "marlin doctor" shows what there is.',
    ),
  contextTooLong: (asked: number, trained: number): MarlinError =>
    new MarlinError(
      'context-too-long',
      `A context of ${asked} tokens is more than the ${trained} the model was trained for.`,
      `Use --context ${trained} or less.`,
    ),
  contextExceeded: (tokens: number, context: number): MarlinError =>
    new MarlinError(
      'context-exceeded',
      `The sequence would have ${tokens} tokens; the context holds ${context}.`,
      'Shorten the text, or start a new sequence.',
    ),
  tokenUnknown: (token: number, vocabSize: number): MarlinError =>
    new MarlinError(
      'token-unknown',
      `The model has no token ${token}: its vocabulary has ${vocabSize}.`,
      'Check that the tokenizer belongs to these weights.',
    ),
  promptEmpty: (): MarlinError =>
    new MarlinError(
      'prompt-empty',
      'There is nothing to read: the prompt has no tokens.',
      'Give a prompt of at least one word.',
    ),
  promptTooLong: (tokens: number, context: number, trained: number = context): MarlinError =>
    new MarlinError(
      'prompt-too-long',
      `The prompt has ${tokens} tokens; the context holds ${context}.`,
      tokens < trained
        ? `Use --context ${tokens + 1} or more (up to ${trained}), or shorten the prompt.`
        : `Shorten the prompt to ${trained} tokens or less.`,
    ),

  // ---- verbs
  chatTemplateMissing: (folder: string): MarlinError =>
    new MarlinError(
      'chat-template-missing',
      `The model ${folder} has no chat template.`,
      'Use "marlin generate", or add chat_template.jinja from the model\'s authors.',
    ),
  evalTokensMissing: (folder: string): MarlinError =>
    new MarlinError(
      'eval-tokens-missing',
      `The model ${folder} names no end-of-text token to put between documents.`,
      'Add eos_token_id to its config.json.',
    ),
  evalTextShort: (path: string, tokens: number, context: number): MarlinError =>
    new MarlinError(
      'eval-text-short',
      `${path} has ${tokens} tokens, less than one window of ${context}.`,
      tokens < 2 ? 'Use a longer text.' : `Use a longer text, or --context ${tokens} or less.`,
    ),
  textNotUtf8: (path: string): MarlinError =>
    new MarlinError('text-not-utf8', `${path} is not UTF-8 text.`, 'Save it as UTF-8, or give another file.'),
  lossNotFinite: (path: string): MarlinError =>
    new MarlinError(
      'loss-not-finite',
      `The model ${path} computed probabilities that are no numbers.`,
      'Download the checkpoint again; if it is intact, its activations overflow: try the original 16-bit weights.',
    ),
  modelsNotComparable: (reference: string, candidate: string, why: string): MarlinError =>
    new MarlinError(
      'models-not-comparable',
      `The models ${reference} and ${candidate} cannot be compared: ${why}.`,
      'Give two models with the same tokenizer, such as a model and its quantized copy.',
    ),
  conversationTooLong: (tokens: number, context: number): MarlinError =>
    new MarlinError(
      'conversation-too-long',
      `With this message the conversation has ${tokens} tokens; the context holds ${context}.`,
      'Type /reset to start over, send a shorter message, or run chat with a larger --context.',
    ),

  // ---- the NVIDIA driver
  driverMissing: (library: string, cause: unknown): MarlinError =>
    new MarlinError(
      'driver-missing',
      `The NVIDIA driver is not there: ${library} cannot be loaded (${reason(cause)}).`,
      'Install the NVIDIA driver (in a container: start it with access to the GPU), or use --device cpu.',
      cause,
    ),
  driverTooOld: (found: string, needed: string): MarlinError =>
    new MarlinError(
      'driver-too-old',
      `The NVIDIA driver supports CUDA ${found}; at least CUDA ${needed} is needed.`,
      'Update the NVIDIA driver, or use --device cpu.',
    ),
  driverIncomplete: (library: string, cause: unknown): MarlinError =>
    new MarlinError(
      'driver-incomplete',
      `The NVIDIA driver ${library} lacks a function that every driver of its age has: ${reason(cause)}.`,
      'Reinstall the NVIDIA driver (a stub of the CUDA toolkit on the library path is no driver), or use --device cpu.',
      cause,
    ),
  driverBindingMissing: (cause: unknown): MarlinError =>
    new MarlinError(
      'driver-binding-missing',
      `The package koffi, which calls the NVIDIA driver, cannot be loaded: ${reason(cause)}.`,
      'Install again with optional dependencies (npm ci), on a platform that koffi has a binary for, or use --device cpu.',
      cause,
    ),
  gpuMissing: (): MarlinError =>
    new MarlinError(
      'gpu-missing',
      'The NVIDIA driver is there, but it finds no GPU.',
      'See what "nvidia-smi" says and whether CUDA_VISIBLE_DEVICES hides the GPU, or use --device cpu.',
    ),
  gpuUnknown: (index: number, count: number): MarlinError =>
    new MarlinError(
      'gpu-unknown',
      `There is no GPU ${index}: the driver counts ${count}, from 0.`,
      `Choose a GPU from 0 to ${count - 1}; CUDA_VISIBLE_DEVICES changes the count.`,
    ),
  cudaFailed: (call: string, subject: string | null, words: string, fix: string): MarlinError =>
    new MarlinError('cuda-failed', `${call} failed${subject === null ? '' : ` for ${subject}`}: ${words}.`, `${fix}.`),
  gpuFault: (call: string, suspects: string, words: string, fix: string): MarlinError =>
    new MarlinError('gpu-fault', `${suspects} failed on the GPU: ${words}; ${call} told.`, `${fix}.`),
  gpuContextDead: (fault: MarlinError): MarlinError =>
    new MarlinError(
      'gpu-context-dead',
      `The GPU cannot be used any more in this process, after an earlier failure. It was: ${fault.message.replace(/\.$/, '')}.`,
      'Start the process again; the earlier failure is what has to be repaired.',
      fault,
    ),
  gpuMemoryExceeded: (what: string, bytes: number, free: number, total: number): MarlinError =>
    new MarlinError(
      'gpu-memory-exceeded',
      `There is no room on the GPU for ${what} of ${bytes} bytes: ${free} of ${total} bytes are free.`,
      'Use a smaller model or a shorter --context, or end other programs on the GPU ("nvidia-smi" lists them).',
    ),
  allocationInvalid: (what: string, bytes: number): MarlinError =>
    new MarlinError(
      'allocation-invalid',
      `${bytes} bytes cannot be allocated for ${what}.`,
      'Ask for a whole number of bytes, at least 1.',
    ),
  disposed: (what: string): MarlinError =>
    new MarlinError(
      'disposed',
      `Nothing can be done with ${what} any more: it was disposed of.`,
      'Dispose of it after its last use ("using" does that at the end of the block).',
    ),
  contextForeign: (what: string): MarlinError =>
    new MarlinError(
      'context-foreign',
      `Another GPU context owns ${what}.`,
      'Use things together that were made from the same context.',
    ),
  rangeOutside: (what: string, bytes: number, offset: number, length: number): MarlinError =>
    new MarlinError(
      'range-outside',
      `${length} bytes from byte ${offset} do not lie within ${what}, which has ${bytes} bytes.`,
      'Check offset and length; both are in bytes.',
    ),
  fillInvalid: (what: string, bits: number, value: number, bytes: number): MarlinError =>
    new MarlinError(
      'fill-invalid',
      `A ${bits}-bit fill with ${value} does not suit ${what} of ${bytes} bytes.`,
      `Give a whole number of 0 to ${2 ** bits - 1}, and memory that starts and ends at whole ${bits}-bit words.`,
    ),
  memoryNotPinned: (bytes: number): MarlinError =>
    new MarlinError(
      'memory-not-pinned',
      `The ${bytes} bytes of a copy on a stream do not lie in pinned memory.`,
      'Use a view of a PinnedBuffer, or the copy without a stream, which waits.',
    ),
  ptxRejected: (name: string, call: string, words: string, log: string): MarlinError =>
    new MarlinError(
      'ptx-rejected',
      `The driver cannot compile ${name}: ${call} failed with ${words}.${compilerLog(log)}`,
      'If the compiler names a line, the program that wrote this PTX is wrong there; else compare .target with the GPU.',
    ),
  ptxTooNew: (name: string, version: string, driver: string, log: string): MarlinError =>
    new MarlinError(
      'ptx-too-new',
      `The driver (CUDA ${driver}) does not understand PTX ${version}, in which ${name} is written.${compilerLog(log)}`,
      'Update the NVIDIA driver, or emit an older PTX version.',
    ),
  gpuUnsupported: (name: string, target: string, device: string, capability: string): MarlinError =>
    new MarlinError(
      'gpu-unsupported',
      `The GPU ${device} has compute capability ${capability} and cannot run ${name}, which is for ${target}.`,
      'Emit the PTX for the compute capability of this GPU, or one below it.',
    ),
  kernelUnknown: (kernel: string, module: string): MarlinError =>
    new MarlinError(
      'kernel-unknown',
      `There is no kernel ${kernel} in ${module}.`,
      'Check the name after .entry in the PTX; it must be .visible.',
    ),
  jitOptionInvalid: (option: string, found: number, expected: string): MarlinError =>
    new MarlinError('jit-option-invalid', `${option} ${found} is not usable.`, `Give ${option} ${expected}.`),
  cacheFolderInvalid: (variable: string, value: string, why: string): MarlinError =>
    new MarlinError(
      'cache-folder-invalid',
      `${variable} is ${value.trim() === '' ? '""' : value}: ${why}.`,
      `Set ${variable} to the absolute path of a folder, or unset it.`,
    ),
  parametersMismatch: (kernel: string, detail: string): MarlinError =>
    new MarlinError(
      'parameters-mismatch',
      `The declared parameters do not fit the kernel ${kernel}: ${detail}.`,
      'Declare the parameters in the order and with the sizes of the .entry in the PTX.',
    ),
  parameterInvalid: (kernel: string, parameter: string, expected: string, found: string): MarlinError =>
    new MarlinError(
      'parameter-invalid',
      `The parameter ${parameter} of the kernel ${kernel} must be ${expected}; found ${found}.`,
      'Check the value given for it.',
    ),
  tensorRange: (tensor: string, rows: number, columns: number, bytes: number, has: number): MarlinError =>
    new MarlinError(
      'tensor-range',
      `The matrix ${tensor} of ${rows} x ${columns} elements has ${bytes} bytes, more than the ${has} bytes of its buffer.`,
      'Allocate a larger buffer, or give the rows and columns that lie in it.',
    ),
  tensorInvalid: (tensor: string, why: string): MarlinError =>
    new MarlinError(
      'tensor-invalid',
      `The matrix ${tensor} cannot be read by bulk copies: ${why}.`,
      'Give whole numbers of rows and columns, pad rows to a multiple of 16 bytes, and let the matrix start at a multiple of 16 bytes.',
    ),
  tensorUnsupported: (tensor: string, driver: string): MarlinError =>
    new MarlinError(
      'tensor-unsupported',
      `The matrix ${tensor} cannot be passed to a kernel: the NVIDIA driver (CUDA ${driver}) lacks cuTensorMapEncodeTiled.`,
      'Update the NVIDIA driver, or use a kernel without tensor parameters.',
    ),
  launchInvalid: (kernel: string, field: string, found: string, limit: string): MarlinError =>
    new MarlinError(
      'launch-invalid',
      `The kernel ${kernel} cannot be launched with ${field} ${found}: ${limit}.`,
      `Choose another ${field}.`,
    ),
  eventInvalid: (why: string): MarlinError =>
    new MarlinError(
      'event-invalid',
      `The time between these events cannot be told: ${why}.`,
      'Record both on a stream and synchronize with the later one first.',
    ),
  captureInvalid: (why: string): MarlinError =>
    new MarlinError(
      'capture-invalid',
      `The work cannot be captured in a graph: ${why}.`,
      'Inside of a capture only enqueue kernels, copies and fills on the stream that is captured.',
    ),
  graphChanged: (why: string): MarlinError =>
    new MarlinError(
      'graph-changed',
      `The graph cannot be updated in place: ${why}.`,
      'Instantiate the new graph instead.',
    ),

  // ---- devices
  bufferForeign: (parameter: string, device: string): MarlinError =>
    new MarlinError(
      'buffer-foreign',
      `The argument ${parameter} is no buffer of the device ${device}.`,
      'Pass a buffer that this very device allocated; copy the contents over if they are elsewhere.',
    ),
  simulationFindings: (kernel: string, findings: readonly string[]): MarlinError =>
    new MarlinError(
      'simulation-findings',
      `The simulator found mistakes in the kernel ${kernel}:\n${findings.map((finding) => `  ${finding}\n`).join('')}On a GPU none of them would be told.`,
      'Mend the lines that are named.',
    ),

  // ---- sparse matrices
  notTwoOfFour: (row: number, column: number, values: readonly number[]): MarlinError =>
    new MarlinError(
      'not-two-of-four',
      `The matrix is not 2:4 sparse: row ${row} has more than two non-zero values in columns ${column} to ${column + 3} (${values.join(', ')}).`,
      'Prune it first, so that at most two of every four consecutive values of a row remain; or use the dense product.',
    ),

  // ---- the 4-bit product
  productShapeInvalid: (m: number, n: number, k: number, why: string): MarlinError =>
    new MarlinError(
      'product-shape-invalid',
      `A 4-bit product of ${m} tokens, ${n} output and ${k} input channels cannot be computed: ${why}.`,
      'Give at least one token, and whole numbers of channels, input channels a multiple of 8.',
    ),
  productUnsupported: (m: number, n: number, k: number, arch: string, reasons: readonly string[]): MarlinError =>
    new MarlinError(
      'product-unsupported',
      `No kernel computes the 4-bit product of ${m} tokens, ${n} output and ${k} input channels on ${arch} (${reasons.join('; ')}).`,
      'Split the tokens into smaller products, or use another GPU.',
    ),
  matrixInvalid: (name: string, why: string): MarlinError =>
    new MarlinError(
      'packed-matrix-invalid',
      `The packed matrix ${name} is not whole: ${why}.`,
      'Pack it again from the checkpoint.',
    ),
  biasInvalid: (name: string, expected: number, found: number): MarlinError =>
    new MarlinError(
      'bias-invalid',
      `The bias of ${name} has ${found} values; the matrix has ${expected} output channels.`,
      'Check that bias and weight are of the same layer.',
    ),
  epilogueInvalid: (name: string, why: string): MarlinError =>
    new MarlinError(
      'epilogue-invalid',
      `The product with ${name} cannot be stored like that: ${why}.`,
      'Choose an output of the type of the weights, or f32; give the bias when the matrix is loaded.',
    ),
  bufferTooSmall: (what: string, needed: number, found: number): MarlinError =>
    new MarlinError(
      'buffer-too-small',
      `The buffer for ${what} has ${found} bytes; ${needed} are needed.`,
      'Allocate a larger buffer, or compute fewer tokens at a time.',
    ),

  // ---- kernels of the catalogue
  kernelNameUnknown: (name: string, near: readonly string[]): MarlinError =>
    new MarlinError(
      'kernel-name-unknown',
      `There is no kernel ${name === '' ? '""' : name}${near.length === 0 ? '' : ` (did you mean ${near.join(' or ')}?)`}.`,
      '"marlin kernel list" shows the names.',
    ),
  kernelExampleUnknown: (kernel: string, name: string, examples: readonly string[]): MarlinError =>
    new MarlinError(
      'kernel-example-unknown',
      `The kernel ${kernel} has no example ${name === '' ? '""' : name}.`,
      `Its examples are ${examples.join(', ')}.`,
    ),
  kernelArchUnsupported: (kernel: string, arch: string, archs: readonly string[]): MarlinError =>
    new MarlinError(
      'kernel-arch-unsupported',
      `The kernel ${kernel} needs instructions or shared memory that ${arch} lacks.`,
      `Choose one of ${archs.join(', ')}.`,
    ),
  ptxasMissing: (): MarlinError =>
    new MarlinError(
      'ptxas-missing',
      'There is no ptxas on PATH.',
      'Install the CUDA toolkit and put its bin folder on PATH; kernels are printed, simulated and run without it.',
    ),
  ptxasRefused: (kernels: readonly string[], arch: string, log: string): MarlinError =>
    new MarlinError(
      'ptxas-refused',
      `ptxas does not take ${kernels.join(', ')} for ${arch}. It says: ${log.replace(/[.\s]+$/, '')}.`,
      'Print the kernel with "marlin kernel print" and look at the lines that are named; an old ptxas may not know new instructions.',
    ),

  // ---- benchmarks
  cublasMissing: (tried: readonly string[]): MarlinError =>
    new MarlinError(
      'cublas-missing',
      `cuBLAS, against which is measured, cannot be loaded; tried ${tried.join('; ')}.`,
      'Install the CUDA toolkit or PyTorch with CUDA, or put the folder of libcublas.so.12 or .13 on LD_LIBRARY_PATH.',
    ),
  cublasFailed: (call: string, status: string): MarlinError =>
    new MarlinError(
      'cublas-failed',
      `${call} failed: ${status}.`,
      'Check that cuBLAS is of a CUDA version that the driver supports ("marlin doctor" says which).',
    ),

  // ---- the inside
  internal: (what: string): MarlinError =>
    new MarlinError(
      'internal',
      `A promise inside marlin-ts was broken: ${what}.`,
      'This is a bug in marlin-ts: please report it with the command that led here.',
    ),
};
