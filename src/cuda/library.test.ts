// The binding itself: its prototypes against cuda.h, and every kind of argument through koffi into a driver written in C for this test.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openContext } from './context.ts';
import { listDevices } from './device.ts';
import { createEvent, elapsed } from './event.ts';
import { capture } from './graph.ts';
import { prepare } from './launch.ts';
import { type Bind, bindAll, libraryName, openDriver, signature } from './library.ts';
import { allocate, allocatePinned, copyOnDevice, copyToDevice, copyToHost, fillBytes, fillWords } from './memory.ts';
import { loadModule } from './module.ts';
import { createStream } from './stream.ts';
import { encodeTensorMap } from './tensor-map.ts';
import { compileC, toolkit } from './toolkit.fixture.ts';

const skip = toolkit.missing ?? false;
const folder = mkdtempSync(join(tmpdir(), 'marlin-driver-'));
const library = join(folder, 'driver.so');
const empty = join(folder, 'empty.so');
after(() => rmSync(folder, { recursive: true }));

const prototypes: string[] = [];
const collect: Bind = (prototype) => {
  prototypes.push(prototype);
  return () => 0;
};
bindAll(collect);

test('every prototype is the one of cuda.h', { skip }, () => {
  assert.ok(prototypes.length > 50);
  const source = ['#include <cuda.h>', ...prototypes.map((prototype) => `${prototype};`)];
  assert.equal(compileC(source.join('\n'), ['-fsyntax-only']), '');
  const wrong = prototypes.map((prototype) => prototype.replace('size_t bytes)', 'unsigned int bytes)'));
  assert.match(
    compileC(['#include <cuda.h>', ...wrong.map((it) => `${it};`)].join('\n'), ['-fsyntax-only']),
    /conflicting types/,
  );
});

test('C types become FFI types: text as text, written and read memory as pointers, handles as pointers, the rest by width', () => {
  assert.deepEqual(
    signature('CUresult f(const char *name, void **out, CUstream stream, CUdeviceptr pointer, size_t bytes)'),
    { name: 'f', parameters: ['str', 'void *', 'void *', 'uint64', 'size_t'] },
  );
  assert.deepEqual(signature('CUresult g(void)'), { name: 'g', parameters: [] });
  assert.throws(() => signature('CUresult f(CUnothing x)'), { code: 'internal' });
  assert.throws(() => signature('void f(int x)'), { code: 'internal' });
});

test('no library: the error says which and what to do', async () => {
  await assert.rejects(openDriver('libcuda-is-not-here.so.1'), (error: Error & { code?: string; fix?: string }) => {
    assert.equal(error.code, 'driver-missing');
    assert.match(error.message, /libcuda-is-not-here\.so\.1/);
    assert.match(error.fix ?? '', /--device cpu/);
    return true;
  });
  assert.equal(libraryName('linux'), 'libcuda.so.1');
  assert.equal(libraryName('win32'), 'nvcuda.dll');
});

test('koffi is loaded with the first driver, not before', () => {
  const url = new URL('library.ts', import.meta.url).href;
  const source = `
    const loaded = () => process.report.getReport().sharedObjects.some((path) => path.includes('koffi'));
    const { openDriver } = await import(${JSON.stringify(url)});
    const before = loaded();
    await openDriver('libcuda-is-not-here.so.1').catch(() => {});
    console.log(before, loaded());`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', source], { encoding: 'utf8' });
  assert.equal(stdout, 'false true\n');
});

/** What the functions of the C driver do; the others only return 0. Memory of the "GPU" is malloc's. */
const BODIES: Readonly<Record<string, string>> = {
  cuDriverGetVersion: 'const char *set = getenv("STUB_VERSION"); *version = set ? atoi(set) : 13000; return 0;',
  cuGetErrorName: 'if (error != 218) return 1; *text = "CUDA_ERROR_INVALID_PTX"; return 0;',
  cuGetErrorString: 'if (error != 218) return 1; *text = "a PTX JIT compilation failed"; return 0;',
  cuDeviceGetCount: '*count = 2; return 0;',
  cuDeviceGet: '*device = ordinal + 40; return 0;',
  cuDeviceGetName: 'snprintf(name, length, "device %d", device); return 0;',
  cuDeviceTotalMem_v2: '*bytes = 141ull << 30; return 0;',
  cuDeviceGetAttribute: '*value = attribute == 75 ? 9 : attribute == 97 ? 232448 : 1024; return 0;',
  cuDevicePrimaryCtxRetain: '*context = (CUcontext)0xfedcba9876543210ull; return device == 41 ? 0 : 101;',
  cuDevicePrimaryCtxRelease_v2: 'return device == 41 ? 0 : 101;',
  cuCtxSetCurrent: 'return context == (CUcontext)0xfedcba9876543210ull ? 0 : 201;',
  cuMemGetInfo_v2: '*free = 5000000000ull; *total = 141ull << 30; return 0;',
  cuMemAlloc_v2: 'if (bytes > 4ull << 30) return 2; *pointer = (CUdeviceptr)malloc(bytes); return 0;',
  cuMemFree_v2: 'freed++; free((void *)pointer); return 0;',
  cuMemHostAlloc: '*pointer = malloc(bytes); return 0;',
  cuMemFreeHost: 'freed++; free(pointer); return 0;',
  cuMemcpyHtoD_v2: 'memcpy((void *)to, from, bytes); return 0;',
  cuMemcpyDtoH_v2: 'memcpy(to, (void *)from, bytes); return 0;',
  cuMemcpyDtoD_v2: 'memcpy((void *)to, (void *)from, bytes); return 0;',
  cuMemcpyHtoDAsync_v2: 'memcpy((void *)to, from, bytes); return stream == STREAM ? 0 : 400;',
  cuMemcpyDtoHAsync_v2: 'memcpy(to, (void *)from, bytes); return stream == STREAM ? 0 : 400;',
  cuMemsetD8_v2: 'memset((void *)to, value, count); return 0;',
  cuMemsetD32Async:
    'for (size_t i = 0; i < count; i++) ((unsigned *)to)[i] = value; return stream == STREAM ? 0 : 400;',
  cuModuleLoadDataEx: `
    char *log = 0; size_t size = 0; unsigned registers = 0;
    for (unsigned i = 0; i < count; i++) {
      if (options[i] == CU_JIT_ERROR_LOG_BUFFER) log = values[i];
      if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) size = (size_t)values[i];
      if (options[i] == CU_JIT_MAX_REGISTERS) registers = (unsigned)(size_t)values[i];
    }
    if (registers != 40) return 1;
    if (strstr(image, "bogus")) { snprintf(log, size, "line 2; error: bogus"); return 218; }
    *module = (CUmodule)0x1234; return 0;`,
  cuModuleGetFunction: `
    if (module != (CUmodule)0x1234 || strcmp(name, "record")) return 500;
    *kernel = (CUfunction)0x77; return 0;`,
  cuLinkCreate_v2: '*state = (CUlinkState)0x99; return count >= 6 ? 0 : 1;',
  cuLinkAddData_v2: `
    return state == (CUlinkState)0x99 && type == CU_JIT_INPUT_PTX && bytes == strlen(data) + 1 && name[0] == 't'
      && count == 0 && options == 0 && values == 0 ? 0 : 1;`,
  cuLinkComplete: '*cubin = "machine code"; *bytes = 12; return 0;',
  cuModuleLoadData: '*module = (CUmodule)0x1234; return memcmp(image, "machine code", 12) ? 200 : 0;',
  cuFuncGetAttribute: '*value = attribute == 8 ? 49152 : attribute == 1 ? 0 : 256; return 0;',
  cuFuncSetAttribute: 'return attribute == 8 && value == 100000 ? 0 : 1;',
  cuFuncGetParamInfo: `
    size_t sizes[] = {8, 4, 4, 8, 4};
    if (index >= 5) return 1;
    *offset = 0; *bytes = sizes[index]; return 0;`,
  cuLaunchKernelEx: `
    unsigned *to = *(unsigned **)parameters[0];
    if (kernel != (CUfunction)0x77 || config->hStream != STREAM || extra != 0) return 400;
    memcpy(to, config, 28);
    to[7] = config->numAttrs;
    to[8] = config->attrs[0].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    to[9] = config->attrs[0].value.clusterDim.x * 100 + config->attrs[0].value.clusterDim.y * 10 + config->attrs[0].value.clusterDim.z;
    to[10] = config->attrs[1].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    to[11] = config->attrs[1].value.programmaticStreamSerializationAllowed;
    memcpy(to + 12, parameters[1], 4); memcpy(to + 13, parameters[2], 4);
    memcpy(to + 14, parameters[3], 8); memcpy(to + 16, parameters[4], 4);
    return 0;`,
  cuTensorMapEncodeTiled: `
    cuuint64_t *to = map->opaque;
    if ((size_t)map % 128 != 0) return 1;
    cuuint64_t words[] = {type, rank, (size_t)address, sizes[0], sizes[1], strides[0], box[0], box[1], elementStrides[0], elementStrides[1],
      interleave, swizzle, promotion, fill};
    memcpy(to, words, sizeof words); return 0;`,
  cuStreamCreate: '*stream = STREAM; return flags == 0 ? 0 : 1;',
  cuStreamQuery: 'return 600;',
  cuEventCreate: '*event = (CUevent)0x66; return 0;',
  cuEventElapsedTime: '*milliseconds = 1.5f; return start == (CUevent)0x66 ? 0 : 400;',
  cuStreamEndCapture: '*graph = (CUgraph)0x88; return 0;',
  cuGraphInstantiateWithFlags: '*exec = (CUgraphExec)0xaa; return flags == 0 ? 0 : 1;',
  cuGraphExecUpdate_v2: 'result->result = CU_GRAPH_EXEC_UPDATE_ERROR_FUNCTION_CHANGED; return 910;',
};

before(() => {
  if (toolkit.missing !== null) return;
  const head = [
    '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <cuda.h>',
    '#define STREAM (CUstream)0x7fff00005555ull',
    'int freed = 0;',
  ];
  const functions = prototypes.map((prototype) => {
    const body = BODIES[signature(prototype).name] ?? 'return 0;';
    return `${prototype} { ${body} }`;
  });
  const shared = ['-shared', '-fPIC', '-Wno-int-conversion'];
  assert.equal(compileC([...head, ...functions].join('\n'), [...shared, '-o', library]), '');
  const version = 'CUresult cuDriverGetVersion(int *version) { *version = 13000; return 0; }';
  assert.equal(compileC(`#include <cuda.h>\n${version}`, [...shared, '-o', empty]), '');
});

test(
  'a driver that is too old, or lacks functions, is refused with its version or the function',
  { skip },
  async () => {
    process.env['STUB_VERSION'] = '11080';
    try {
      await assert.rejects(openDriver(library), { code: 'driver-too-old', message: /CUDA 11\.8; at least CUDA 12\.0/ });
    } finally {
      delete process.env['STUB_VERSION'];
    }
    await assert.rejects(openDriver(empty), { code: 'driver-incomplete', message: /cuInit/ });
  },
);

test('numbers, text, handles, memory and structures arrive in C as they were meant', { skip }, async () => {
  const driver = await openDriver(library);
  assert.deepEqual(
    listDevices(driver).map(({ name, memoryBytes, capability }) => ({ name, memoryBytes, capability })),
    [40, 41].map((n) => ({ name: `device ${n}`, memoryBytes: 141 * 2 ** 30, capability: { major: 9, minor: 1024 } })),
  );
  using context = openContext(driver, 1);
  assert.deepEqual(context.memory(), { free: 5_000_000_000, total: 141 * 2 ** 30 });

  using buffer = allocate(context, 4096, 'buffer');
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
  copyToDevice(buffer.slice(8), bytes.subarray(10, 20));
  fillBytes(buffer.slice(0, 8), 0xab);
  copyOnDevice(buffer.slice(100, 18), buffer.slice(0, 18));
  const back = new Uint8Array(20);
  copyToHost(back.subarray(1, 19), buffer.slice(100, 18));
  assert.deepEqual([...back], [0, ...Array<number>(8).fill(0xab), ...bytes.subarray(10, 20), 0]);
  assert.throws(() => allocate(context, 5 * 2 ** 30, 'too much'), {
    code: 'gpu-memory-exceeded',
    message: /5000000000/,
  });

  using stream = createStream(context);
  using pinned = allocatePinned(context, 64, 'pinned');
  pinned.bytes.set(bytes.subarray(0, 64));
  copyToDevice(buffer, pinned.bytes, stream);
  fillWords(buffer.slice(0, 8), 0xdeadbeef, stream);
  pinned.bytes.fill(0);
  copyToHost(pinned.bytes, buffer.slice(0, 64), stream);
  assert.deepEqual(new Uint32Array(pinned.bytes.buffer, 0, 3), Uint32Array.of(0xdeadbeef, 0xdeadbeef, 0x0b0a0908));
  assert.equal(stream.done(), false, 'cuStreamQuery says 600');

  using module = loadModule(context, '.version 8.0', { label: 'test', maxRegisters: 40 });
  const kernel = module.kernel('record');
  assert.deepEqual(kernel.parameterBytes, [8, 4, 4, 8, 4]);
  const launch = prepare(
    kernel,
    [
      { name: 'to', type: 'pointer', align: 16 },
      { name: 'a', type: 'u32' },
      { name: 'b', type: 's32' },
      { name: 'c', type: 'u64' },
      { name: 'd', type: 'f32' },
    ],
    [buffer, 0xfffffffe, -3, 2n ** 63n + 5n, 0.5],
    { grid: [8, 6, 4], block: [32, 2, 1], cluster: [2, 3, 1], sharedBytes: 100_000, overlap: true },
  );
  launch.launch(stream);
  const seen = new Uint32Array(17);
  copyToHost(seen, buffer);
  assert.deepEqual([...seen.subarray(0, 7)], [8, 6, 4, 32, 2, 1, 100_000]);
  assert.deepEqual([...seen.subarray(7, 12)], [2, 1, 231, 1, 1]);
  assert.deepEqual([...seen.subarray(12, 14)], [0xfffffffe, 2 ** 32 - 3]);
  assert.equal(new BigUint64Array(seen.slice(14, 16).buffer)[0], 2n ** 63n + 5n);
  assert.equal(new Float32Array(seen.buffer)[16], 0.5);

  const matrix = { name: 'm', element: 'bf16', rows: 5, columns: 24, box: [2, 8], swizzle: 32 } as const;
  const { map } = encodeTensorMap(context, buffer.slice(64), matrix);
  const words = [...new BigUint64Array(map.slice().buffer)].slice(0, 14);
  assert.deepEqual(words, [9n, 2n, buffer.pointer + 64n, 24n, 5n, 48n, 8n, 2n, 1n, 1n, 0n, 1n, 3n, 0n]);

  using start = createEvent(context);
  using end = createEvent(context);
  start.record(stream);
  end.record(stream);
  assert.equal(elapsed(start, end), 1.5);

  using graph = capture(stream, () => launch.launch(stream));
  using exec = graph.instantiate();
  exec.launch(stream);
  assert.throws(() => exec.update(graph), { code: 'graph-changed', message: /another kernel/ });
});

test('what the compiler of the driver says comes back from its buffer', { skip }, async () => {
  using context = openContext(await openDriver(library), 1);
  assert.throws(() => loadModule(context, '.version 8.0\n  bogus;\n', { label: 'test', maxRegisters: 40 }), {
    code: 'ptx-rejected',
    message: /CUDA_ERROR_INVALID_PTX \(218\), a PTX JIT compilation failed.*line 2; error: bogus \[bogus;\]/,
  });
  assert.throws(() => loadModule(context, '.version 8.0', { label: 'test', maxRegisters: 41 }), {
    code: 'cuda-failed',
    message: /a code without a name \(1\), unknown to the driver/,
  });
});

test('a linked cubin is copied out of the memory of the driver', { skip }, async () => {
  using context = openContext(await openDriver(library), 1);
  using module = loadModule(context, '.version 8.0', { label: 'test', relocatable: true, cache: null });
  assert.equal(module.report.cache, 'off');
  assert.throws(() => module.kernel('other'), { code: 'kernel-unknown' });
});
