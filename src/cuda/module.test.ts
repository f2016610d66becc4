// Modules: both ways to compile, the cache, what the compiler refuses, kernels and their facts.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openContext } from './context.ts';
import { createFake } from './fake.ts';
import * as cuda from './header.ts';
import { loadModule } from './module.ts';

const root = mkdtempSync(join(tmpdir(), 'marlin-module-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;
const newFolder = (): string => join(root, String(folders++));

const PTX = `// two kernels
.version 8.0
.target sm_90a
.address_size 64
.visible .entry add(.param .u64 x, .param .align 16 .b8 map[128], .param .f32 s)
.maxntid 256, 1, 1
{
  .shared .align 16 .b8 tile[2048];
  ret;
}
.visible .entry other()
{
  ret;
}
`;

test('compiled as a whole: no cache of ours, options passed, kernels found', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  using module = loadModule(context, PTX, { label: 'm', lineInfo: true, maxRegisters: 64 });
  assert.equal(module.report.cache, 'driver');
  assert.ok(module.report.milliseconds >= 0);
  const add = module.kernel('add');
  assert.equal(module.kernel('add'), add);
  assert.deepEqual(add.parameterBytes, [8, 128, 4]);
  assert.deepEqual(add.facts, {
    registers: 32,
    localBytes: 0,
    sharedBytes: 2048,
    threadsPerBlock: 256,
    binaryVersion: 90,
  });
  assert.deepEqual(module.kernel('other').parameterBytes, []);
  assert.throws(() => module.kernel('sub'), {
    code: 'kernel-unknown',
    message: 'There is no kernel sub in the module "m".',
  });
});

test('an older driver cannot tell the parameters', () => {
  using context = openContext(createFake({ parameterInfo: false }).driver);
  using module = loadModule(context, PTX, { label: 'm' });
  assert.equal(module.kernel('add').parameterBytes, null);
});

test('options that are none', () => {
  using context = openContext(createFake().driver);
  for (const maxRegisters of [15, 256, 40.5, Number.NaN]) {
    assert.throws(() => loadModule(context, PTX, { label: 'm', maxRegisters }), { code: 'jit-option-invalid' });
  }
});

test('the cache: a miss compiles and writes, a hit does neither, each option and text has its own entry', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  const cache = newFolder();
  const load = (ptx: string, options: { maxRegisters?: number; lineInfo?: boolean } = {}): string => {
    using module = loadModule(context, ptx, { label: 'm', relocatable: true, cache, ...options });
    assert.equal(module.kernel('add').name, 'add');
    return module.report.cache;
  };
  assert.equal(load(PTX), 'miss');
  const compilations = (): number => fake.calls.filter((call) => call === 'cuLinkAddData').length;
  assert.equal(compilations(), 1);
  assert.equal(load(PTX), 'hit');
  assert.equal(compilations(), 1);
  assert.equal(load(`${PTX}\n`), 'miss');
  assert.equal(load(PTX, { maxRegisters: 64 }), 'miss');
  assert.equal(load(PTX, { lineInfo: true }), 'miss');
  assert.equal(load(PTX, { lineInfo: false }), 'hit');
  assert.equal(readdirSync(join(cache, 'cubin')).length, 4);
  assert.equal(fake.live, 0, 'every link is destroyed');

  for (const other of [
    { version: 12_040 },
    { attributes: { [cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR]: 10 } },
  ]) {
    using elsewhere = openContext(createFake(other).driver);
    using module = loadModule(elsewhere, PTX, { label: 'm', relocatable: true, cache });
    assert.equal(module.report.cache, 'miss', JSON.stringify(other));
  }
});

test('a broken entry, or one the driver does not take, is compiled and written again', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  const cache = newFolder();
  const load = (): string => {
    using module = loadModule(context, PTX, { label: 'm', relocatable: true, cache });
    return module.report.cache;
  };
  load();
  const [name = ''] = readdirSync(join(cache, 'cubin'));
  const path = join(cache, 'cubin', name);
  const good = readFileSync(path);
  writeFileSync(path, good.subarray(0, 90));
  assert.equal(load(), 'miss');
  assert.deepEqual(readFileSync(path), good);
  fake.fail('cuModuleLoadData', cuda.CUDA_ERROR_NO_BINARY_FOR_GPU);
  assert.equal(load(), 'miss');
  assert.equal(load(), 'hit');
});

test('without a cache, and with one that cannot be written, modules load all the same', () => {
  using context = openContext(createFake().driver);
  const file = join(root, 'file');
  writeFileSync(file, '');
  for (const cache of [null, file]) {
    using module = loadModule(context, PTX, { label: 'm', relocatable: true, cache });
    assert.equal(module.report.cache, 'off');
    module.kernel('add');
  }
});

for (const relocatable of [false, true]) {
  const way = relocatable ? 'relocatable' : 'as a whole';
  test(`PTX with a mistake, compiled ${way}: the log, and the line it names`, () => {
    const fake = createFake();
    using context = openContext(fake.driver);
    const wrong = PTX.replace('ret;', 'bogus.f32 %f1;');
    assert.throws(() => loadModule(context, wrong, { label: 'm', relocatable, cache: null }), {
      code: 'ptx-rejected',
      message:
        /the module "m": cu\w+ failed with CUDA_ERROR_INVALID_PTX \(218\).*line 9; error   : Not a name.*'bogus' \[bogus\.f32 %f1;\]\.$/,
    });
    assert.equal(fake.live, 0);
  });

  test(`PTX newer than the driver, compiled ${way}: both versions`, () => {
    using context = openContext(createFake({ version: 12_080 }).driver);
    const options = { label: 'm', relocatable, cache: null };
    assert.throws(() => loadModule(context, PTX.replace('8.0', '9.9'), options), {
      code: 'ptx-too-new',
      message: /\(CUDA 12\.8\) does not understand PTX 9\.9, in which the module "m".*current version is '9\.0'/,
      fix: /Update the NVIDIA driver/,
    });
  });

  test(`PTX for another GPU, compiled ${way}: target and capability`, () => {
    const fake = createFake();
    using context = openContext(fake.driver);
    fake.fail(relocatable ? 'cuLinkAddData' : 'cuModuleLoadDataEx', cuda.CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert.throws(() => loadModule(context, PTX, { label: 'm', relocatable, cache: null }), {
      code: 'gpu-unsupported',
      message: 'The GPU Fake H200 0 has compute capability 9.0 and cannot run the module "m", which is for sm_90a.',
    });
  });
}

test('a driver without its compiler says what to install', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  fake.fail('cuModuleLoadDataEx', cuda.CUDA_ERROR_JIT_COMPILER_NOT_FOUND);
  assert.throws(() => loadModule(context, PTX, { label: 'm' }), { code: 'cuda-failed', fix: /ptxjitcompiler/ });
});

test('PTX without any directives still gets a message without holes', () => {
  using context = openContext(createFake().driver);
  assert.throws(() => loadModule(context, '', { label: 'm' }), {
    code: 'ptx-rejected',
    message: /Missing \.version directive/,
  });
});

test('a kernel of a module that is gone', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  const module = loadModule(context, PTX, { label: 'm' });
  const kernel = module.kernel('add');
  module[Symbol.dispose]();
  module[Symbol.dispose]();
  assert.equal(fake.live, 0);
  assert.throws(() => kernel.handle, { code: 'disposed', message: /the kernel "add" of the module "m"/ });
  assert.throws(() => module.kernel('other'), { code: 'disposed' });
});

test('shared memory beyond 48 KiB is asked for once, and refused beyond what the GPU has', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  using module = loadModule(context, PTX, { label: 'm' });
  const kernel = module.kernel('add');
  const asked = (): number => fake.calls.filter((call) => call === 'cuFuncSetAttribute').length;
  kernel.allowShared(49_152 - 2048);
  assert.equal(asked(), 0);
  kernel.allowShared(100_000);
  kernel.allowShared(90_000);
  assert.equal(asked(), 1);
  kernel.allowShared(232_448 - 2048);
  assert.equal(asked(), 2);
  assert.throws(() => kernel.allowShared(232_448 - 2047), { code: 'launch-invalid', message: /232448 bytes/ });
});
